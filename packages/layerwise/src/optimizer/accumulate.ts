/** Gradient accumulation: large batches in parts that fit the cache or device. */
import { checkArray, checkNumber, shown } from "../check.js";
import { applyShared } from "../kernels/choose.js";
import type { KernelTask } from "../kernels/kernel.js";
import { checkedParameter } from "./parameter.js";
import type { Parameter } from "./parameter.js";

/**
 * Adds a gradient to a parameter's: grad ← grad + scale·gradient, in float32, on the kernels' threads. If the
 * parameter has no gradient, it first gets one of zeros.
 *
 * @param gradient as many elements as the parameter has, for example the mean over a micro-batch
 * @param scale finite; for example the micro-batch's share of the batch. Default 1
 * @throws TypeError or RangeError if `gradient`, `data` or `grad` has another type or length, or `scale` is not
 *   finite; then nothing was added
 * @example
 * for (const gradient of gradientsOfParts) accumulate(weights, gradient, 1 / parts);
 */
export function accumulate(parameter: Parameter, gradient: Float32Array, scale = 1): void {
  checkedParameter("accumulate: parameter", parameter);
  const label = `layer ${shown(parameter.name ?? "parameter")}`;
  checkArray(`${label}: gradient`, gradient, Float32Array, parameter.size);
  checkArray(`${label}: data`, parameter.data, Float32Array, parameter.size);
  checkNumber("scale", scale, Number.isFinite, "a finite number");
  const sum = parameter.grad ?? new Float32Array(parameter.size);
  checkArray(`${label}: grad`, sum, Float32Array, parameter.size);
  applyShared([additionTask(sum, gradient, scale)]);
  parameter.grad = sum;
}

/**
 * Adds arrays to others of the same lengths: each sum of two float32 numbers is rounded once. A sum that is infinite
 * becomes NaN.
 */
export function addArrays(
  pairs: readonly { readonly sum: Float32Array; readonly addend: Float32Array }[],
): void {
  applyShared(pairs.map(({ sum, addend }) => additionTask(sum, addend, 1)));
}

/** An addition is a step against the gradient's sign: sum − (−1)·scale·gradient. */
function additionTask(sum: Float32Array, gradient: Float32Array, scale: number): KernelTask {
  return {
    arrays: { weights: sum, gradient, momentum: null },
    equation: {
      gradientFactor: scale,
      weightFactor: 0,
      decay: 0,
      accumulation: 1,
      lookahead: 0,
      stepSize: -1,
      skipZeros: false,
    },
    sums: { weights: false, update: false },
  };
}
