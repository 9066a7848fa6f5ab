/** The scenarios in a page, for the tests to call by name. */
import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import "@tensorflow/tfjs-backend-webgpu";
import * as lifecycle from "./lifecycle.js";
import * as scenarios from "./scenarios.js";

setWasmPaths("/");
// WebGL under a name that the adapter does not know.
tf.registerBackend("plain webgl", tf.findBackendFactory("webgl"));
tf.copyRegisteredKernels("webgl", "plain webgl");

/** WebGL with less than it has here, as flags say it. */
const LESS: Readonly<Record<string, [flag: string, value: boolean | number]>> = {
  "webgl of half floats": ["WEBGL_RENDER_FLOAT32_ENABLED", false],
  "webgl 1": ["WEBGL_VERSION", 1],
  "webgl without packing": ["WEBGL_PACK", false],
};

Object.assign(globalThis, {
  scenarios: { ...scenarios, ...lifecycle },
  use: async (backend: string): Promise<boolean> => {
    const less = LESS[backend];
    if (less !== undefined) tf.env().set(...less);
    const name = less === undefined ? backend : "webgl";
    return (await tf.setBackend(name)) && (await tf.ready(), true);
  },
});
