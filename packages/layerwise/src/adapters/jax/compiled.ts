/** How to write operations that `jit` compiles to fast code, on wasm and on GPUs. Only speed depends on it. */
import { defaultDevice } from "@jax-js/jax";
import type { numpy as np } from "@jax-js/jax";

/**
 * Up to this many elements, starting a kernel takes longer than running it. On wasm, jax-js' cost per kernel dominates, and
 * recomputing prevents SIMD: 161 layers of 1,024 elements take 38 ms instead of 76, but 8 layers of
 * 2,048 take 1.2 instead of 0.8.
 */
const SMALL = { wasm: 2 ** 10, gpu: 2 ** 14 };

/**
 * Whether to write for `wasm` or for GPUs, in which other operations are slow. Arrays may be elsewhere than on the
 * default device.
 */
export function isOnProcessor(): boolean {
  return ["wasm", "cpu"].includes(defaultDevice());
}

/**
 * Whether decisions are made for many layers at once, on vectors. On wasm starting a kernel costs jax-js more than
 * running it: 161 layers of 64 elements take 28 ms per step instead of 77. The cpu device interprets, so kernels cost
 * nothing. On GPUs layers of one shape share their kernels only if none reads its own element of a vector: with
 * vectors the same layers take 126 ms instead of 92, in SwiftShader.
 */
export function isDecidedTogether(): boolean {
  return (defaultDevice() as string) === "wasm";
}

/**
 * Whether computing more per element of a layer pays off because it takes fewer kernels. On the cpu device, which
 * interprets, it does not. Borrows the array.
 */
export function isSmall(values: np.Array): boolean {
  switch (defaultDevice() as string) {
    case "cpu":
      return false;
    case "wasm":
      return isTraced(values) && values.size <= SMALL.wasm;
    default:
      return values.size <= SMALL.gpu;
  }
}

/** Whether `jit` is tracing. Otherwise each operation is a kernel of its own. */
function isTraced(values: np.Array): boolean {
  return !("device" in values);
}

/**
 * The same array, but a GPU thread computes four of its elements. jax-js unrolls only sums, so this becomes a sum of
 * one number. In SwiftShader, over 262,144 elements, the momentum's kernel takes 2.19 ms instead of 2.63, and the
 * weights' kernel 1.51 instead of 2.01: an eighth of a step.
 */
export function fourAThread(values: np.Array): np.Array {
  return isOnProcessor() ? values : computedOnce(values);
}

/**
 * The same array, computed once and kept. For every element that a scalar is combined with, `jit` repeats the
 * computation of the scalar, and a division there prevents SIMD; it never repeats a sum.
 * 10 million parameters: 55 ms per step instead of 200.
 */
export function computedOnce(values: np.Array): np.Array {
  return values.reshape([...values.shape, 1]).sum(values.ndim);
}
