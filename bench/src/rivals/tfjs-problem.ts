/** What the rivals for TensorFlow.js step on. */
import { perceptron } from "../models/perceptron.js";
import type { Problem } from "../problem.js";

export type TfjsBackend = "cpu" | "wasm" | "webgl" | "webgpu";

/** WebGL on SwiftShader, a GPU in software, needs minutes for a few steps over 10 million parameters. */
export function problemFor(backend: TfjsBackend): Problem {
  return backend === "webgl" ? perceptron(256) : perceptron();
}
