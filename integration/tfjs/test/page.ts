/** The scenarios in a page, for the tests to call by name. */
import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import "@tensorflow/tfjs-backend-webgpu";
import * as scenarios from "./scenarios.js";

setWasmPaths("/");
// WebGL under a name that the adapter does not know.
tf.registerBackend("plain webgl", tf.findBackendFactory("webgl"));
tf.copyRegisteredKernels("webgl", "plain webgl");

/** WebGL as on phones whose textures hold no more. */
const HALF_FLOATS = "webgl of half floats";

Object.assign(globalThis, {
  scenarios,
  use: async (backend: string): Promise<boolean> => {
    if (backend === HALF_FLOATS) tf.env().set("WEBGL_RENDER_FLOAT32_ENABLED", false);
    const name = backend === HALF_FLOATS ? "webgl" : backend;
    return (await tf.setBackend(name)) && (await tf.ready(), true);
  },
});
