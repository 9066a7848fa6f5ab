/** Gradient accumulation: large batches in parts that fit the cache or the device. */
import { checkNumber, shown } from "../check.js";
import { availableRuntime } from "../kernels/choose.js";
import type { KernelTask } from "../kernels/kernel.js";
import { referenceKernel } from "../kernels/reference.js";
import type { Parameter } from "./parameter.js";

/**
 * Adds a gradient to a parameter's: grad ← grad + scale·gradient, in float32, on the kernels' threads. A
 * parameter without gradient gets one of zeros first.
 *
 * @param gradient as many elements as the parameter has, for example the mean over a micro-batch
 * @param scale finite; for example the micro-batch's share of the batch. Default 1
 * @throws TypeError or RangeError for another type or length, or a scale that is not finite; nothing was
 *   added then
 */
export function accumulate(parameter: Parameter, gradient: Float32Array, scale = 1): void {
  const name = shown(parameter.name ?? "parameter");
  if (!(gradient instanceof Float32Array)) {
    throw new TypeError(`${name}: gradient is ${shown(gradient)}; allowed is a Float32Array`);
  }
  if (gradient.length !== parameter.size) {
    throw new RangeError(
      `${name}: gradient has ${String(gradient.length)} elements; allowed is ${String(parameter.size)}`,
    );
  }
  checkNumber("scale", scale, Number.isFinite, "a finite number");
  parameter.grad ??= new Float32Array(parameter.size);
  const task = additionTask(parameter.grad, gradient, scale);
  const runtime = availableRuntime();
  if (runtime === null) referenceKernel.apply([task]);
  else runtime.run("apply", [task], Infinity);
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
