/** What the rivals for TensorFlow.js step on. */
import { perceptron } from "../models/perceptron.js";
import type { Problem } from "../problem.js";

export type TfjsBackend = "cpu" | "wasm" | "webgl" | "webgpu";

export function tfjsProblem(): Problem {
  return perceptron();
}
