/** Translates a run's options into those of an optimizer. */
import { presets } from "layerwise";
import type { LARSOptions } from "layerwise";
import { ruleOf } from "./names.js";
import type { OptimizerName } from "./names.js";

export const PRESETS = Object.keys(presets) as PresetName[];

export type PresetName = keyof typeof presets;

/** Options of a step beside rate and clipping. null: the preset's value, else the trainer's. */
export interface StepOptions {
  readonly momentum: number | null;
  readonly nesterov: boolean;
  readonly weightDecay: number | null;
  readonly maxUnorm: number | null;
  readonly trustCoefficient: number | null;
  readonly preset: PresetName | null;
  readonly percentileClipping: number | null;
}

/** What a search finds for an optimizer. */
export interface Setting {
  /** The highest rate. */
  readonly lr: number;
  /** Limit of the norm of all gradients together; null: none. */
  readonly maxGradNorm: number | null;
}

/** The trainer's own choices, for SGD and LARS alike, where neither an option nor a preset says more. */
export const DEFAULT_MOMENTUM = 0.9;
export const DEFAULT_WEIGHT_DECAY = 1e-4;
/** η of the rule scale-gradient; Apex LARC's default. */
export const DEFAULT_TRUST_COEFFICIENT = 0.02;
/** torch.optim.AdamW's default: decoupled decay is multiplied by Adam's small rates. */
export const DEFAULT_ADAMW_DECAY = 0.01;

/** The options of layerwise for an optimizer other than AdamW. */
export function larsOptions(
  name: OptimizerName,
  step: StepOptions,
  { lr, maxGradNorm }: { lr: LARSOptions["lr"]; maxGradNorm: number | null },
): LARSOptions {
  const defaults = { momentum: DEFAULT_MOMENTUM, weightDecay: DEFAULT_WEIGHT_DECAY };
  return {
    ...defaults,
    ...ruleOptions(name, step, lr),
    ...explicitOptions(step),
    ...(maxGradNorm === null ? {} : { maxGradNorm }),
  };
}

/** The options of AdamW that a run has an option for. */
export function adamwOptions({ momentum, weightDecay }: StepOptions): {
  beta1: number;
  weightDecay: number;
} {
  return {
    beta1: momentum ?? DEFAULT_MOMENTUM,
    weightDecay: weightDecay ?? DEFAULT_ADAMW_DECAY,
  };
}

function ruleOptions(
  name: OptimizerName,
  { preset, maxUnorm, trustCoefficient }: StepOptions,
  lr: LARSOptions["lr"],
): LARSOptions {
  const rule = ruleOf(name);
  if (rule === "sgd") return { lr, trustRatio: "none" };
  if (rule === "sgd-nesterov") return { lr, trustRatio: "none", nesterov: true };
  if (preset !== null) return presets[preset]({ lr });
  if (maxUnorm !== null) return { lr, trustRatio: { rule: "clip-update", maxUnorm } };
  const coefficient = trustCoefficient ?? DEFAULT_TRUST_COEFFICIENT;
  return { lr, trustRatio: { rule: "scale-gradient", coefficient } };
}

/** Only the given options: the rest comes from the preset or the trainer. */
function explicitOptions(step: StepOptions): Partial<LARSOptions> {
  const { momentum, nesterov, weightDecay, percentileClipping } = step;
  return {
    ...(momentum === null ? {} : { momentum }),
    ...(nesterov ? { nesterov } : {}),
    ...(weightDecay === null ? {} : { weightDecay }),
    ...(percentileClipping === null ? {} : { percentileClipping }),
  };
}
