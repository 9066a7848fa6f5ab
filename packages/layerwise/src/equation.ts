/** From hyperparameters and decisions to the numbers that kernels work with. */
import { ruleOf } from "./decide/trust-ratio.js";
import type { UpdateEquation } from "./kernels/kernel.js";
import type { Hyperparameters } from "./options.js";

/** The scalars of one layer in one step. */
export interface StepScalars {
  /** γ of this step. */
  readonly learningRate: number;
  /** gradScale · c: what multiplies the gradient as it was given. */
  readonly gradientScale: number;
  /** r. */
  readonly trustRatio: number;
  /** A layer's first step, or one without momentum: m = d, nothing stored is read. */
  readonly isFirst: boolean;
}

/** The factors with which the rate γ and the ratio r enter: into the direction, and into the step. */
function placedFactors(
  { trustRatio }: Hyperparameters,
  { learningRate, trustRatio: ratio }: StepScalars,
): { direction: number; step: number } {
  switch (ruleOf(trustRatio).placement(trustRatio)) {
    case "classic":
      return { direction: learningRate * ratio, step: 1 };
    case "before":
      return { direction: ratio, step: learningRate };
    case "after":
      return { direction: 1, step: learningRate * ratio };
  }
}

/** Steps 4 to 8 of a LARS step for one layer, as numbers. */
export function updateEquation(values: Hyperparameters, scalars: StepScalars): UpdateEquation {
  const { direction, step } = placedFactors(values, scalars);
  return {
    gradientFactor: direction * scalars.gradientScale,
    weightFactor: direction * values.weightDecay,
    decay: scalars.isFirst ? 0 : values.momentum,
    accumulation: scalars.isFirst ? 1 : 1 - values.dampening,
    lookahead: values.nesterov ? values.momentum : 0,
    stepSize: step,
    skipZeros: values.skipZeros,
  };
}

/** d = c·g + λ·w alone, in the place of the update: what the norm of a joint denominator is taken of. */
export function directionEquation(
  values: Hyperparameters,
  { gradientScale }: Pick<StepScalars, "gradientScale">,
): UpdateEquation {
  return {
    gradientFactor: gradientScale,
    weightFactor: values.weightDecay,
    decay: 0,
    accumulation: 1,
    lookahead: 0,
    stepSize: 0,
    skipZeros: values.skipZeros,
  };
}

/** u before any trust ratio: what rules measure that scale the update itself. */
export function unscaledEquation(
  values: Hyperparameters,
  scalars: Pick<StepScalars, "gradientScale" | "isFirst">,
): UpdateEquation {
  const unscaled = { ...values, trustRatio: { rule: "none" } as const };
  return updateEquation(unscaled, { ...scalars, learningRate: 0, trustRatio: 1 });
}
