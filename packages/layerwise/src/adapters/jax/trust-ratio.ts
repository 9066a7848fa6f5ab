/** Weight decay and trust ratio of one layer, and as transformations of their own. */
import type { numpy as np } from "@jax-js/jax";
import { numpy } from "@jax-js/jax";
import { checkNames, checkNonNegative, checkObject, shown } from "../../check.js";
import type { StepFactors } from "../../decide/rules/rule.js";
import { ruleOf } from "../../decide/trust-ratio.js";
import type { TrustRatio } from "../../decide/trust-ratio.js";
import { DEFAULTS, resolveOptions } from "../../options/options.js";
import type { TrustRatioOption } from "../../options/options.js";
import { computedOnce } from "./compiled.js";
import { trustRatioOf, usesLearningRate, usesUpdateNorm } from "./decide.js";
import type { ArrayRate } from "./decide.js";
import { checkRate, rateAt } from "./learning-rate.js";
import type { ArraySchedule } from "./learning-rate.js";
import { maskedLayers } from "./masks.js";
import type { Mask } from "./masks.js";
import { normOf, normsOf } from "./norms.js";
import { int32 } from "./scalars.js";
import { overTrees, requiredWeights } from "./transformation.js";
import type { FlatStep, GradientTransformation } from "./transformation.js";

/** d = g + λ·w, 0 where `zeros` says so. Consumes the gradient; borrows the rest. */
export function decayed(
  gradient: np.Array,
  weights: np.Array,
  weightDecay: number,
  zeros: np.Array | null,
): np.Array {
  if (weightDecay === 0) return gradient;
  const direction = gradient.add(weights.ref.mul(weightDecay));
  return zeros === null ? direction : numpy.where(zeros.ref, 0, direction);
}

/** What the ratio of a layer is taken from, beside the rule. All arrays are borrowed. */
export interface Adaptation extends StepFactors<ArrayRate> {
  readonly weights: np.Array;
  /** ‖c·g‖, made anew by each call. */
  readonly gradient: () => np.Array;
  /** u, or d under a rule that goes before the momentum. */
  readonly update: np.Array;
  /** ‖w‖, and ‖u‖ or ‖d‖ where the rule asks for it, if they are known. */
  readonly known: readonly np.Array[] | null;
}

/** r of a layer, or null where it is 1 whatever the norms are. */
export function layerRatio(
  rule: TrustRatio,
  { weights, update, gradient, known, ...factors }: Adaptation,
): np.Array | null {
  const both =
    known?.map(({ ref }) => ref) ??
    (usesUpdateNorm(rule) ? normsOf([weights.ref, update.ref]) : null);
  const norms = {
    weight: () => both?.[0] ?? normOf(weights.ref),
    gradient,
    update: () => both![1]!,
  };
  return trustRatioOf(rule, norms, factors);
}

/** Options of {@link scaleByTrustRatio}. */
export interface TrustRatioOptions {
  /** The rule. Default: `clip-update` with `maxUnorm`; not together with `maxUnorm`. */
  trustRatio?: TrustRatioOption;
  /** Short for the rule `clip-update`: the largest ‖u‖ / ‖w‖, ≥ 0; 0 is off. Default 0.02. */
  maxUnorm?: number;
  /** Under `scale-gradient`: λ ≥ 0 of d = g + λ·w, which its denominators tell apart from g. Default 0. */
  weightDecay?: number;
  /** Under `scale-gradient` with `clip`, and required there: γ. */
  lr?: number | ArraySchedule;
  /** Layers that are adapted; the others pass with r = 1. Default: all. */
  trustRatioMask?: Mask;
  /** Layers that are decayed. Default: all. */
  weightDecayMask?: Mask;
}

const TRUST_RATIO_NAMES = [
  "trustRatio",
  "maxUnorm",
  "weightDecay",
  "lr",
  "trustRatioMask",
  "weightDecayMask",
];

/**
 * The trust ratio as a transformation of its own: updates times r. What comes in is u, so put momentum
 * before it; under `scale-gradient` it is the gradient g, weight decay is added here, and momentum goes
 * after it.
 *
 * Source: `optax.scale_by_trust_ratio`, which is `{ rule: "scale-update", coefficient: 1 }`.
 *
 * @throws TypeError or RangeError that names the option, the value and what is allowed
 */
export function scaleByTrustRatio(options: TrustRatioOptions = {}): GradientTransformation {
  const given = checkObject("scaleByTrustRatio: options", options);
  checkNames("scaleByTrustRatio: options", given, TRUST_RATIO_NAMES);
  const { lr, trustRatioMask = true, weightDecayMask = true, ...others } = options;
  const values = resolveOptions("scaleByTrustRatio: options", { ...others, lr: 0 });
  const { trustRatio: rule, weightDecay } = values;
  if (weightDecay !== 0 && placementOf(rule) === "after") {
    throw new RangeError(
      `weightDecay: got ${String(weightDecay)} with the rule ${shown(rule.rule)}; allowed is 0 there: put addDecayedWeights(${String(weightDecay)}) before the momentum`,
    );
  }
  const rate = usesLearningRate(rule) ? checkRate(lr) : null;
  return overTrees("scaleByTrustRatio", {
    init: () => (rate === null ? [] : { count: int32(0) }),
    update(step, state) {
      const weights = requiredWeights("scaleByTrustRatio", step);
      const adapts = masked("trustRatioMask", trustRatioMask, step);
      const decays = masked("weightDecayMask", weightDecayMask, step);
      const count = rate === null ? null : (state as { count: np.Array }).count;
      const learningRate = rate === null ? null : rateAt(rate, count!.ref);
      const scaled = step.updates.map((gradient, index) => {
        const ownDecay = decays[index] === true ? weightDecay : 0;
        const ownRule = adapts[index] === true ? rule : NO_RULE;
        const update = decayed(gradient.ref, weights[index]!, ownDecay, null);
        const ratio = layerRatio(ownRule, {
          weights: weights[index]!,
          update,
          known: null,
          gradient: () => normOf(gradient.ref),
          learningRate: () => learningRate!.ref,
          weightDecay: ownDecay,
        });
        gradient.dispose();
        weights[index]!.dispose();
        return ratio === null ? update : update.mul(computedOnce(ratio));
      });
      learningRate?.dispose();
      return [scaled, count === null ? [] : { count: count.add(int32(1)) }];
    },
  });
}

/** What masked layers have. */
export const NO_RULE: TrustRatio = { rule: "none" };

/** What a mask says of the layers of a step. */
export function masked(
  name: string,
  mask: Mask,
  { shapes, structure }: Pick<FlatStep, "shapes" | "structure">,
): boolean[] {
  return maskedLayers(name, mask, { layers: shapes, structure });
}

/** Whether a rule scales d before the momentum, with γ (classic) or without. */
export function placementOf(rule: TrustRatio): "classic" | "before" | "after" {
  return ruleOf(rule).placement(rule);
}

/**
 * Adds λ·w to the updates.
 *
 * Source: `optax.add_decayed_weights`.
 *
 * @param weightDecay λ ≥ 0
 * @param mask layers that are decayed. Default: all
 */
export function addDecayedWeights(
  weightDecay: number = DEFAULTS.weightDecay,
  mask: Mask = true,
): GradientTransformation {
  checkNonNegative("weightDecay", weightDecay);
  return overTrees("addDecayedWeights", {
    init: () => [],
    update(step) {
      const weights = requiredWeights("addDecayedWeights", step);
      const decays = masked("addDecayedWeights: mask", mask, step);
      const added = step.updates.map((gradient, index) =>
        decayed(gradient, weights[index]!, decays[index] === true ? weightDecay : 0, null),
      );
      for (const each of weights) each.dispose();
      return [added, []];
    },
  });
}
