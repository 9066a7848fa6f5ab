/** What the rivals for jax-js step on. */
import { perceptron } from "../models/perceptron.js";
import { oneLayer } from "../problem.js";
import type { Problem } from "../problem.js";

export type JaxDevice = "cpu" | "wasm" | "webgpu";

/** jax-js' cpu device interprets, 7 µs an element; and WebGPU is on SwiftShader, a GPU in software. */
export function problemFor(device: JaxDevice): Problem {
  switch (device) {
    case "cpu":
      return oneLayer(2 ** 14);
    case "wasm":
      return perceptron();
    case "webgpu":
      return oneLayer(2 ** 18);
  }
}
