/**
 * The backends that run in Node: cpu and wasm, where steps run in the core's kernels, and `plain`, the cpu backend
 * under a name that the adapter does not know, where they run by tensor operations, as on tfjs-node.
 */
import { createRequire } from "node:module";
import { dirname, sep } from "node:path";
import * as tf from "@tensorflow/tfjs";
import { MathBackendCPU } from "@tensorflow/tfjs-backend-cpu";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import { expect } from "vitest";

const wasmFolder = dirname(
  createRequire(import.meta.url).resolve("@tensorflow/tfjs-backend-wasm/package.json"),
);
setWasmPaths(`${wasmFolder}${sep}dist${sep}`);
tf.registerBackend("plain", () => new MathBackendCPU());
tf.copyRegisteredKernels("cpu", "plain");

export async function use(backend: string): Promise<void> {
  expect(await tf.setBackend(backend)).toBe(true);
  await tf.ready();
}
