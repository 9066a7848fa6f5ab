/** From hyperparameters and decisions to the numbers that kernels work with. */
import { ruleOf } from "../decide/trust-ratio.js";
import type { UpdateEquation } from "../kernels/kernel.js";
import type { Hyperparameters } from "../options/options.js";

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
interface PlacedFactors {
  readonly direction: number;
  readonly step: number;
}

function placedFactors(
  { trustRatio }: Hyperparameters,
  { learningRate, trustRatio: ratio }: StepScalars,
): PlacedFactors {
  switch (ruleOf(trustRatio).placement(trustRatio)) {
    case "classic":
      return { direction: learningRate * ratio, step: 1 };
    case "before":
      return { direction: ratio, step: learningRate };
    case "after":
      return { direction: 1, step: learningRate * ratio };
  }
}

/** Neither rate nor ratio, for rules that scale the update itself and measure it unscaled. */
const UNSCALED: PlacedFactors = { direction: 1, step: 0 };

/** How a layer's past and its clipping change the equation. */
type History = Pick<StepScalars, "gradientScale" | "isFirst">;

// No object spread here or in lars.ts: with many small layers spreading took half of a step.
function equationOf(
  values: Hyperparameters,
  { gradientScale, isFirst }: History,
  { direction, step }: PlacedFactors,
): UpdateEquation {
  return {
    gradientFactor: direction * gradientScale,
    weightFactor: direction * values.weightDecay,
    decay: isFirst ? 0 : values.momentum,
    accumulation: isFirst ? 1 : 1 - values.dampening,
    lookahead: values.nesterov ? values.momentum : 0,
    stepSize: step,
    skipZeros: values.skipZeros,
  };
}

/** Steps 4 to 8 of a LARS step for one layer, as numbers. */
export function updateEquation(values: Hyperparameters, scalars: StepScalars): UpdateEquation {
  return equationOf(values, scalars, placedFactors(values, scalars));
}

/** u before any trust ratio. */
export function unscaledEquation(values: Hyperparameters, history: History): UpdateEquation {
  return equationOf(values, history, UNSCALED);
}

/** d = c·g + λ·w in the place of the update: what the norm of a joint denominator is taken of. */
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
