/** The scenarios in a page, for the tests to call by name. */
import * as tf from "@tensorflow/tfjs";
import "@tensorflow/tfjs-backend-webgpu";
import * as scenarios from "./scenarios.js";

Object.assign(globalThis, {
  scenarios,
  use: async (backend: string): Promise<boolean> =>
    (await tf.setBackend(backend)) && (await tf.ready(), true),
});
