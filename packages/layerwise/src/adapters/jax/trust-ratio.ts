/** Weight decay and trust ratio of one layer, and as transformations of their own. */
import type { numpy as np } from "@jax-js/jax";
import { numpy } from "@jax-js/jax";
import { checkNames, checkNonNegative, checkObject, shown } from "../../check.js";
import type { StepFactors } from "../../decide/rules/rule.js";
import { ruleOf } from "../../decide/trust-ratio.js";
import type { TrustRatio } from "../../decide/trust-ratio.js";
import { DEFAULTS, resolveOptions } from "../../options/options.js";
import type { TrustRatioOption } from "../../options/options.js";
import { isSmall } from "./compiled.js";
import { trustRatioOf, usesGradientNorm, usesLearningRate } from "./decide.js";
import type { ArrayRate } from "./decide.js";
import { checkRate, initialRateState, takenRate } from "./learning-rate.js";
import type { ArraySchedule, RateState } from "./learning-rate.js";
import { maskedLayers } from "./masks.js";
import type { Mask } from "./masks.js";
import { normsOf } from "./norms.js";
import { checkEmpty } from "./states.js";
import { overTrees, requiredWeights } from "./transformation.js";
import type { FlatStep, GradientTransformation } from "./transformation.js";
import { grouped, scaled } from "./vectors.js";

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

/** The inputs of the ratios of layers with one rule. All arrays are borrowed. */
export interface Adaptation extends StepFactors<ArrayRate> {
  /** The layers' weights. */
  readonly weights: readonly np.Array[];
  /** u of each layer, or d under a rule that goes before the momentum. */
  readonly updates: readonly np.Array[];
  /** ‖c·g‖ [layers], made anew by each call. */
  readonly gradient: () => np.Array;
  /** ‖w‖, and ‖u‖ or ‖d‖ where the rule asks for it, if they are known: vectors [layers]. */
  readonly known: readonly np.Array[] | null;
}

/** r of each layer [layers], or null where it is 1 whatever the norms are. */
export function ratiosOf(
  rule: TrustRatio,
  { weights, updates, gradient, known, ...factors }: Adaptation,
): np.Array | null {
  const { weights: usesWeights, update } = ruleOf(rule).measures(rule);
  if (!usesWeights) return null;
  const [weightNorm, updateNorm] =
    known?.map(({ ref }) => ref) ??
    normsOf(
      weights.map(({ ref }, index) => (update === "nothing" ? [ref] : [ref, updates[index]!.ref])),
    );
  return trustRatioOf(
    rule,
    { weight: () => weightNorm!, gradient, update: () => updateNorm! },
    factors,
  );
}

/** Options of {@link scaleByTrustRatio}. */
export interface TrustRatioOptions {
  /** The rule. Default: `clip-update` with `maxUnorm`. Give this or `maxUnorm`, not both. */
  trustRatio?: TrustRatioOption;
  /** Short for the rule `clip-update`: the largest ‖u‖ / ‖w‖, ≥ 0; 0 is off. Default 0.02. */
  maxUnorm?: number;
  /** Under `scale-gradient`: λ ≥ 0 of d = g + λ·w, which its denominators tell apart from g. Default 0. */
  weightDecay?: number;
  /** Under `scale-gradient` with `clip`, and required there: γ. */
  lr?: number | ArraySchedule;
  /** Adapted layers; the others have r = 1. Default: all. */
  trustRatioMask?: Mask;
  /** Layers with weight decay. Default: all. */
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
 * The trust ratio as a transformation: updates times r. It takes u, so put momentum
 * before it. Under `scale-gradient` it takes the gradient g and adds weight decay itself; put momentum
 * after it.
 *
 * Source: `optax.scale_by_trust_ratio`, which is `{ rule: "scale-update", coefficient: 1 }`.
 *
 * @throws TypeError or RangeError that names the option, what was expected, and the value
 */
export function scaleByTrustRatio(
  options: TrustRatioOptions = {},
): GradientTransformation<RateState> {
  const given = checkObject("scaleByTrustRatio: options", options);
  checkNames("scaleByTrustRatio: options", given, TRUST_RATIO_NAMES);
  const { lr, trustRatioMask = true, weightDecayMask = true, ...others } = options;
  const values = resolveOptions("scaleByTrustRatio: options", { ...others, lr: 0 });
  const { trustRatio: rule, weightDecay } = values;
  if (weightDecay !== 0 && placementOf(rule) === "after") {
    throw new RangeError(
      `weightDecay: expected 0 with the rule ${shown(rule.rule)}, got ${String(weightDecay)}: put addDecayedWeights(${String(weightDecay)}) before the momentum`,
    );
  }
  // Without it, no rate.
  const rate = usesLearningRate(rule) ? checkRate(lr) : 0;
  return overTrees<RateState>("scaleByTrustRatio", {
    init: () => initialRateState(rate),
    update(step, state) {
      const { learningRate, next: nextState } = takenRate("scaleByTrustRatio", rate, state);
      const weights = requiredWeights("scaleByTrustRatio", step);
      const adapts = masked("trustRatioMask", trustRatioMask, step);
      const decays = masked("weightDecayMask", weightDecayMask, step);
      const layers = step.updates.map((gradient, index): AdaptedLayer => ({
        gradient,
        weights: weights[index]!,
        rule: adapts[index] === true ? rule : NO_RULE,
        weightDecay: decays[index] === true ? weightDecay : 0,
      }));
      const next: np.Array[] = [];
      for (const { items, positions } of grouped(layers, keyOf)) {
        const updates = adapted(items, () => learningRate.ref);
        positions.forEach((position, index) => (next[position] = updates[index]!));
      }
      learningRate.dispose();
      return [next, nextState];
    },
  });
}

interface AdaptedLayer {
  readonly gradient: np.Array;
  readonly weights: np.Array;
  readonly rule: TrustRatio;
  readonly weightDecay: number;
}

/** Layers whose ratios are decided as one vector. */
function keyOf({ gradient, rule, weightDecay }: AdaptedLayer): string {
  return [rule.rule, weightDecay, isSmall(gradient)].join();
}

/** Updates times r, of layers that are decided together. Consumes their arrays. */
function adapted(layers: readonly AdaptedLayer[], learningRate: ArrayRate): np.Array[] {
  const { rule, weightDecay } = layers[0]!;
  const gradientNorm = usesGradientNorm(rule)
    ? normsOf(layers.map(({ gradient }) => [gradient.ref]))[0]!
    : null;
  const updates = layers.map(({ gradient, weights }) =>
    decayed(gradient, weights, weightDecay, null),
  );
  const ratios = ratiosOf(rule, {
    weights: layers.map(({ weights }) => weights),
    updates,
    known: null,
    gradient: () => gradientNorm!.ref,
    learningRate,
    weightDecay,
  });
  gradientNorm?.dispose();
  for (const { weights } of layers) weights.dispose();
  return ratios === null ? updates : scaled(updates, ratios);
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
 * @param mask layers with weight decay. Default: all
 */
export function addDecayedWeights(
  weightDecay: number = DEFAULTS.weightDecay,
  mask: Mask = true,
): GradientTransformation<[]> {
  checkNonNegative("weightDecay", weightDecay);
  return overTrees<[]>("addDecayedWeights", {
    init: () => [],
    update(step, state) {
      checkEmpty("addDecayedWeights: state", state);
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
