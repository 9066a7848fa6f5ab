/** How to write operations so that what `jit` makes of them is fast, on wasm and on GPUs. Only speed depends on it. */
import { defaultDevice } from "@jax-js/jax";
import type { numpy as np } from "@jax-js/jax";

/**
 * Up to so many elements, starting a kernel takes longer than what it does. On wasm it is what a kernel costs jax-js that
 * counts, and computing more than once is without SIMD: 161 layers of 1,024 elements take 38 ms instead of 76, 8 layers of
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
 * Whether what is decided for each layer is decided for many at once, on vectors. On wasm a kernel costs jax-js more than
 * what it does: 161 layers of 64 elements take 28 ms a step instead of 77. The cpu device interprets, so that kernels cost
 * nothing. On GPUs layers of one shape share their kernels only where none reads an element of its own from a vector: with
 * vectors the same layers take 126 ms instead of 92, in SwiftShader.
 */
export function isDecidedTogether(): boolean {
  return (defaultDevice() as string) === "wasm";
}

/**
 * Whether it is worth computing more for each element of a layer, if that takes fewer kernels: on the cpu device, which
 * interprets, it is not. Borrows the array.
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

/** Whether `jit` is tracing: else each operation is a kernel of its own. */
function isTraced(values: np.Array): boolean {
  return !("device" in values);
}

/**
 * The same array, but a thread of a GPU computes four elements of it: jax-js unrolls sums alone, so this is made a sum of
 * one number. In SwiftShader, over 262,144 elements, the kernel of the momentum takes 2.19 ms instead of 2.63, and that
 * of the weights 1.51 instead of 2.01: an eighth of a step.
 */
export function fourAThread(values: np.Array): np.Array {
  return isOnProcessor() ? values : computedOnce(values);
}

/**
 * The same array, computed once and kept. `jit` repeats what makes a scalar for every element that the scalar
 * is combined with, and a division there keeps the loop from SIMD; the outcome of a sum it never repeats.
 * 10 million parameters: 55 ms a step instead of 200.
 */
export function computedOnce(values: np.Array): np.Array {
  return values.reshape([...values.shape, 1]).sum(values.ndim);
}
