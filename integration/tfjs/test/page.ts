/** The scenarios in a page, for the tests to call by name. */
import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import "@tensorflow/tfjs-backend-webgpu";
import * as scenarios from "./scenarios.js";

setWasmPaths("/");

Object.assign(globalThis, {
  scenarios,
  use: async (backend: string): Promise<boolean> =>
    (await tf.setBackend(backend)) && (await tf.ready(), true),
});
