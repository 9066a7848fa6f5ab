/** What the rivals for jax-js step on, and where. */
import { perceptron } from "../models/perceptron.js";
import { oneLayer } from "../problem.js";
import type { Problem } from "../problem.js";

interface Field {
  readonly device: "cpu" | "wasm" | "webgpu";
  readonly problem: () => Problem;
}

/** jax-js' cpu device interprets, 7 µs an element. */
export const FIELDS = {
  wasm: { device: "wasm", problem: perceptron },
  cpu: { device: "cpu", problem: () => oneLayer(2 ** 14) },
  webgpu: { device: "webgpu", problem: perceptron },
  "webgpu, one layer": { device: "webgpu", problem: () => oneLayer(2 ** 18) },
  "webgpu, small layers": { device: "webgpu", problem: () => perceptron(128) },
} as const satisfies Readonly<Record<string, Field>>;

export type JaxField = keyof typeof FIELDS;
