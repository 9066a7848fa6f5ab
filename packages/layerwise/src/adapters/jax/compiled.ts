/** How to write operations so that what `jit` makes of them is fast, on wasm and on GPUs. Only speed depends on it. */
import { defaultDevice } from "@jax-js/jax";
import type { numpy as np } from "@jax-js/jax";

/** Up to so many elements, starting a kernel takes longer than what it does. */
const SMALL = { wasm: 2 ** 12, gpu: 2 ** 14 };

/**
 * Whether to write for `wasm` or for GPUs, in which other operations are slow. Arrays may be elsewhere than on the
 * default device.
 */
export function isOnProcessor(): boolean {
  return ["wasm", "cpu"].includes(defaultDevice());
}

/** Whether it is worth computing more for each element of a layer, if that takes fewer kernels. Borrows the array. */
export function isSmall(values: np.Array): boolean {
  switch (defaultDevice() as string) {
    case "cpu":
      // It interprets each operation on each element.
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
