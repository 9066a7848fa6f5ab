/** From a run's options to an optimizer of layerwise and its learning rates. */
import { presets, schedules } from "layerwise";
import type { LARSOptions, Parameter } from "layerwise";
import { optimizerFor } from "layerwise/jax";
import type { HostOptimizer } from "layerwise/jax";

export const OPTIMIZERS = ["sgd", "lars", "lars8bit", "lars32bit"] as const;

export type OptimizerName = (typeof OPTIMIZERS)[number];

export const SCHEDULES = ["constant", "polynomial", "cosine", "multi-step"] as const;

export type ScheduleName = (typeof SCHEDULES)[number];

export const PRESETS = Object.keys(presets) as PresetName[];

export type PresetName = keyof typeof presets;

/** Where in its run the rate rises and falls. */
export interface RateOptions {
  readonly schedule: ScheduleName;
  readonly warmupSteps: number;
  readonly steps: number;
}

/** What makes a step, beside the rate. null: the preset's value, else the trainer's. */
export interface StepOptions {
  readonly momentum: number | null;
  readonly nesterov: boolean;
  readonly weightDecay: number | null;
  readonly maxUnorm: number | null;
  readonly trustCoefficient: number | null;
  readonly preset: PresetName | null;
  readonly percentileClipping: number | null;
}

/** The trainer's own choices, for SGD and LARS alike, where neither an option nor a preset says more. */
export const DEFAULT_MOMENTUM = 0.9;
export const DEFAULT_WEIGHT_DECAY = 1e-4;
/** η of the rule scale-gradient; Apex LARC's default. */
export const DEFAULT_TRUST_COEFFICIENT = 0.02;

/**
 * Creates an optimizer. Biases are neither adapted nor decayed, whatever the optimizer.
 *
 * @param lr the highest rate, or a schedule
 */
export function createOptimizer(
  name: OptimizerName,
  parameters: readonly Parameter[],
  options: LARSOptions,
): HostOptimizer {
  const areMatrices = parameters.map(({ shape }) => shape.length > 1);
  return optimizerFor([...parameters], {
    ...options,
    optimBits: name === "lars8bit" ? 8 : 32,
    trustRatioMask: areMatrices,
    weightDecayMask: areMatrices,
  });
}

/** The options of layerwise for one of the compared optimizers. */
export function optimizerOptions(
  name: OptimizerName,
  step: StepOptions,
  lr: LARSOptions["lr"],
): LARSOptions {
  const defaults = { momentum: DEFAULT_MOMENTUM, weightDecay: DEFAULT_WEIGHT_DECAY };
  return { ...defaults, ...ruleOptions(name, step, lr), ...explicitOptions(step) };
}

function ruleOptions(
  name: OptimizerName,
  { preset, maxUnorm, trustCoefficient }: StepOptions,
  lr: LARSOptions["lr"],
): LARSOptions {
  if (name === "sgd") return { lr, trustRatio: "none" };
  if (preset !== null) return presets[preset]({ lr });
  if (maxUnorm !== null) return { lr, trustRatio: { rule: "clip-update", maxUnorm } };
  const coefficient = trustCoefficient ?? DEFAULT_TRUST_COEFFICIENT;
  return { lr, trustRatio: { rule: "scale-gradient", coefficient } };
}

/** Only what was asked for: the rest is the preset's or the trainer's. */
function explicitOptions(step: StepOptions): Partial<LARSOptions> {
  const { momentum, nesterov, weightDecay, percentileClipping } = step;
  return {
    ...(momentum === null ? {} : { momentum }),
    ...(nesterov ? { nesterov } : {}),
    ...(weightDecay === null ? {} : { weightDecay }),
    ...(percentileClipping === null ? {} : { percentileClipping }),
  };
}

/** A linear rise to the highest rate, then the schedule down to the run's last step. */
export function learningRates(
  peak: number,
  { schedule, warmupSteps, steps }: RateOptions,
): (step: number) => number {
  const rest = decay(schedule, peak, Math.max(1, steps - warmupSteps));
  if (warmupSteps === 0) return rest;
  const rise = schedules.warmup({ peak, steps: warmupSteps });
  return schedules.sequence([{ schedule: rise, steps: warmupSteps }, { schedule: rest }]);
}

function decay(name: ScheduleName, start: number, steps: number): (step: number) => number {
  switch (name) {
    case "constant":
      return schedules.constant(start);
    case "polynomial":
      return schedules.polynomial({ start, steps });
    case "cosine":
      return schedules.cosine({ start, steps });
    case "multi-step": {
      // A tenth after half of the steps, a hundredth after three quarters.
      const milestones = [Math.ceil(steps / 2), Math.ceil((3 * steps) / 4)];
      return schedules.multiStep({ start, milestones: [...new Set(milestones)] });
    }
  }
}
