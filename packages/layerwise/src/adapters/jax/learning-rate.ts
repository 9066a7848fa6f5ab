/** Learning rates that can be used inside `jit`, where the count of steps is an array. */
import { numpy as np } from "@jax-js/jax";
import { checkInteger, checkNonNegative, shown } from "../../check.js";
import type { Schedule } from "../../options/schedules.js";
import { computedOnce } from "./compiled.js";
import { counted } from "./counters.js";
import { int32, scalar } from "./scalars.js";
import { checkCount, checkEmpty, checkFields } from "./states.js";
import { overTrees } from "./transformation.js";
import type { GradientTransformation } from "./transformation.js";
import { isArray } from "./trees.js";

/**
 * The rate of a step, a float32 scalar, from the count of steps made before it, an int32 scalar. It consumes
 * the count. Inside `jit` the count has no value: `count.item()` is an error there.
 */
export type ArraySchedule = (count: np.Array) => np.Array;

/**
 * Makes any schedule of numbers, such as those of `layerwise`, usable inside `jit`, by a table of the rates of all
 * steps, 4 bytes each. Later steps use the last rate.
 *
 * @param schedule the rate of a step, counted from 0
 * @param steps how many steps the table has, ≥ 1
 * @throws TypeError or RangeError if `steps` is not a whole number ≥ 1, or a rate is not a finite number ≥ 0
 */
export function tabulated(schedule: Schedule, steps: number): ArraySchedule {
  checkInteger("tabulated: steps", steps, 1);
  const rates = Float32Array.from({ length: steps }, (_, step) =>
    checkNonNegative(`tabulated: the rate of step ${String(step)}`, schedule(step)),
  );
  return (count) => np.take(np.array(rates.slice()), np.minimum(count, int32(steps - 1)));
}

/** @throws TypeError or RangeError unless `lr` is a finite number ≥ 0 or a function */
export function checkRate(lr: unknown): number | ArraySchedule {
  if (typeof lr === "function") return lr as ArraySchedule;
  if (lr === undefined) {
    throw new TypeError("lr: expected a number ≥ 0 or a function of the step count, got undefined");
  }
  return checkNonNegative("lr", lr);
}

/** γ as a float32 scalar. Consumes the count. */
export function rateAt(lr: number | ArraySchedule, count: np.Array): np.Array {
  if (typeof lr === "number") {
    count.dispose();
    return scalar(lr);
  }
  const rate: unknown = lr(count);
  if (isArray(rate) && rate.size === 1) return rate.reshape([]).astype(np.float32);
  throw new TypeError(
    `lr: expected the schedule to return a scalar array computed from the step count, an array, got ${shown(rate)}: wrap a schedule of numbers in tabulated(schedule, steps)`,
  );
}

/**
 * Multiplies updates by −γ, which turns a direction into the change of the weights.
 *
 * Source: `optax.scale_by_learning_rate`.
 *
 * @param lr a number ≥ 0, or a schedule, whose state is the count of steps
 */
export function scaleByLearningRate(lr: number | ArraySchedule): GradientTransformation<RateState> {
  const rate = checkRate(lr);
  return overTrees<RateState>("scaleByLearningRate", {
    init: () => initialRateState(rate),
    update({ updates, weights }, state) {
      const { learningRate, next } = takenRate("scaleByLearningRate", rate, state);
      for (const each of weights ?? []) each.dispose();
      const factor =
        typeof rate === "number" ? scalar(-rate) : computedOnce(learningRate.ref.neg());
      const scaled = updates.map((update) => update.mul(factor.ref));
      learningRate.dispose();
      factor.dispose();
      return [scaled, next];
    },
  });
}

/** The count of steps, int32, where the rate is a schedule of it; else an empty list. */
export type RateState = [] | { count: np.Array };

export function initialRateState(rate: number | ArraySchedule): RateState {
  return typeof rate === "number" ? [] : { count: int32(0) };
}

/**
 * γ of a step, a float32 scalar, and the state for the next. Consumes the state.
 *
 * @param name of the transformation
 * @throws TypeError for the state of another transformation
 */
export function takenRate(
  name: string,
  rate: number | ArraySchedule,
  state: RateState,
): { readonly learningRate: np.Array; readonly next: RateState } {
  if (typeof rate === "number") {
    checkEmpty(`${name}: state`, state);
    return { learningRate: scalar(rate), next: [] };
  }
  checkFields(name, state, ["count"]);
  const { count } = state as { count: np.Array };
  checkCount(name, "count", count);
  const learningRate = rateAt(rate, count.ref);
  const { next, one } = counted(count);
  return { learningRate: learningRate.mul(one), next: { count: next } };
}
