/** One step of LARS over layers in operations of jax-js: measured, decided, applied, as in the core. */
import { numpy as np } from "@jax-js/jax";
import { PERCENTILE_OFF } from "../../decide/percentile-clipping.js";
import type { Hyperparameters } from "../../options/options.js";
import { computedOnce, fourAThread, isSmallOnGpu } from "./compiled.js";
import {
  clipToPercentile,
  globalClipScale,
  globalNormOf,
  usesGradientNorm,
  usesUpdateNorm,
  usesWeightNorm,
} from "./decide.js";
import { accumulated, updateAlone } from "./momentum.js";
import type { LayerMomentum } from "./momentum.js";
import { areFinite, finiteSum, rootOf, scaledSquares } from "./norms.js";
import type { ScaledSquares } from "./norms.js";
import { isMade, scalar } from "./scalars.js";
import { isArray } from "./trees.js";
import { decayed, layerRatio, placementOf } from "./trust-ratio.js";

/** What a layer remembers; an empty list where it is not asked to. */
// eslint-disable-next-line @typescript-eslint/consistent-type-definitions
export type LarsLayerState = {
  momentum: LayerMomentum;
  /** float32 [100]: the layer's last gradient norms, with percentile clipping. */
  gradientNorms: np.Array | [];
};

/** What all layers have in common in a step. Borrowed. */
interface SharedStep {
  readonly count: np.Array;
  /** int32: 1, or 0 where a gradient is not finite and nothing may change. */
  readonly made: np.Array;
  readonly rate: np.Array;
}

/** A layer and its options, before a step. */
export interface LayerInputs {
  readonly gradient: np.Array;
  readonly weights: np.Array;
  readonly state: LarsLayerState;
  readonly values: Hyperparameters;
}

/** A layer on its way through a step, which owns its arrays. */
interface LayerStep extends LayerInputs {
  /** ‖g‖² where something asks for it. */
  readonly squares: ScaledSquares | null;
  /** ‖w‖, and ‖u‖ or ‖d‖ where the rule asks for it, if they are known before the momentum is. */
  readonly norms: readonly np.Array[] | null;
}

/** What becomes of a layer. */
export interface LayerOutcome {
  /** What is to be added to the weights. */
  readonly update: np.Array;
  readonly state: LarsLayerState;
}

/**
 * A step over all layers, whole or not at all.
 *
 * @param layers consumed
 * @param count int32: steps made before. Borrowed
 * @param rate γ. Borrowed
 * @returns what becomes of each, and `made`: int32, 1, or 0 where a gradient is not finite and nothing changes
 */
export function stepOver(
  layers: readonly LayerInputs[],
  { count, rate }: Pick<SharedStep, "count" | "rate">,
): { readonly outcomes: LayerOutcome[]; readonly made: np.Array } {
  const steps = layers.map((layer) => measured(layer, count));
  const made = isWholeStep(steps);
  const shared = { count, made, rate };
  const outcomes = decideClipping(steps, shared).map((clipped) => layerStep(clipped, shared));
  return { outcomes, made };
}

/** A layer with what is measured before anything is decided. */
function measured(layer: LayerInputs, count: np.Array): LayerStep {
  const { gradient, weights, values } = layer;
  if (isMeasuredAtOnce(layer)) {
    const update = usesUpdateNorm(values.trustRatio) ? [updateBefore(layer, count)] : [];
    const [squares, ...others] = scaledSquares([gradient.ref, weights.ref, ...update]);
    return { ...layer, squares: squares!, norms: others.map(rootOf) };
  }
  const squares = needsGradientNorm(values) ? scaledSquares([gradient.ref])[0]! : null;
  return { ...layer, squares, norms: null };
}

/**
 * Whether all norms of a layer come from one kernel. The momentum can only be written once all gradients are known to be
 * finite, so that u is computed once more for it; for 8 bits that would be all their look-ups.
 */
function isMeasuredAtOnce({ gradient, values, state }: LayerInputs): boolean {
  const { percentileClipping, maxGradNorm, trustRatio } = values;
  const clips = percentileClipping !== PERCENTILE_OFF || maxGradNorm !== null;
  const isPacked = "codes" in state.momentum;
  return isSmallOnGpu(gradient.size) && usesWeightNorm(trustRatio) && !clips && !isPacked;
}

/** u without clipping, or d under a rule that goes before the momentum. Borrows the layer. */
function updateBefore(
  { gradient, weights, state, values }: LayerInputs,
  count: np.Array,
): np.Array {
  const zeros = values.skipZeros ? gradient.ref.equal(0) : null;
  const direction = decayed(gradient.ref, weights, values.weightDecay, zeros);
  const isAfter = placementOf(values.trustRatio) === "after";
  const momentum = isAfter && isArray(state.momentum) ? state.momentum.ref : null;
  return updateAlone(values, { direction, zeros, momentum, count });
}

/** 1 if all gradients are finite, 0 if not. Borrows the steps. */
function isWholeStep(steps: readonly LayerStep[]): np.Array {
  const sums = steps.map(({ squares, gradient }) => squares?.sum.ref ?? finiteSum(gradient.ref));
  // Not of all together: each may be as large as a float32 can be.
  return sums.map(areFinite).reduce((all, each) => all.mul(each));
}

/** A layer whose clipping is decided. */
interface ClippedStep extends Omit<LayerStep, "squares"> {
  /** ‖c·g‖, or null where nothing asks for it. */
  readonly norm: np.Array | null;
  /** c, or null where nothing clips. */
  readonly clip: np.Array | null;
  readonly gradientNorms: LarsLayerState["gradientNorms"];
}

/** Steps 3 and 4 of the specification: percentile clipping, then the limit on all layers together. */
function decideClipping(steps: readonly LayerStep[], shared: SharedStep): ClippedStep[] {
  const clipped = steps.map((step) => percentileClipped(step, shared));
  const { maxGradNorm } = steps[0]?.values ?? { maxGradNorm: null };
  if (maxGradNorm === null) return clipped;
  const globalNorm = globalNormOf(clipped.map(({ norm }) => norm!.ref));
  const scale = globalClipScale(globalNorm, maxGradNorm);
  const limited = clipped.map((step) => ({
    ...step,
    norm: step.norm!.mul(scale.ref),
    clip: step.clip === null ? scale.ref : step.clip.mul(scale.ref),
  }));
  scale.dispose();
  return limited;
}

function percentileClipped(
  { squares, ...step }: LayerStep,
  { count, made }: SharedStep,
): ClippedStep {
  const { values, state } = step;
  if (squares === null) return { ...step, norm: null, clip: null, gradientNorms: [] };
  const norm = rootOf(squares);
  const { gradientNorms } = state;
  if (Array.isArray(gradientNorms)) return { ...step, norm, clip: null, gradientNorms };
  const { scale, history } = clipToPercentile(
    gradientNorms.ref,
    count.ref,
    norm.ref,
    values.percentileClipping,
  );
  return {
    ...step,
    norm: norm.mul(scale.ref),
    clip: scale,
    gradientNorms: np.where(isMade(made), history, gradientNorms),
  };
}

function needsGradientNorm({
  percentileClipping,
  maxGradNorm,
  trustRatio,
}: Hyperparameters): boolean {
  return (
    percentileClipping !== PERCENTILE_OFF || maxGradNorm !== null || usesGradientNorm(trustRatio)
  );
}

/** Steps 4 to 8 of one layer. Consumes the step's own arrays. */
function layerStep(step: ClippedStep, { count, made, rate }: SharedStep): LayerOutcome {
  const { gradient, weights, state, values, norm, norms, clip, gradientNorms } = step;
  const rule = values.trustRatio;
  const placement = placementOf(rule);
  const zeros = values.skipZeros ? gradient.ref.equal(0) : null;
  const ratioOf = (update: np.Array): np.Array | null =>
    layerRatio(rule, {
      weights,
      update,
      known: norms,
      gradient: () => norm!.ref,
      learningRate: () => rate.ref,
      weightDecay: values.weightDecay,
    });

  const clipped = clip === null ? gradient : gradient.mul(computedOnce(clip));
  let direction = decayed(clipped, weights, values.weightDecay, zeros);
  const isSmall = isSmallOnGpu(gradient.size);
  const factorOf = (factor: np.Array): np.Array => {
    const ifMade = np.where(isMade(made), factor, 0);
    return isSmall ? ifMade : computedOnce(ifMade);
  };
  if (placement !== "after") {
    const ratio = ratioOf(direction);
    const factor = placement === "classic" ? times(rate.ref, ratio) : ratio;
    if (factor !== null) direction = direction.mul(factorOf(factor));
  }
  const { update, momentum } = accumulated(values, {
    direction,
    zeros,
    momentum: state.momentum,
    count,
    made,
  });
  const ratio = placement === "after" ? ratioOf(update) : null;
  const stepSize = placement === "classic" ? scalar(1) : times(rate.ref, ratio);
  weights.dispose();
  norm?.dispose();
  for (const each of norms ?? []) each.dispose();
  // Momentum that is kept is finite where the gradient is not; NaN times the factor 0 would be NaN.
  const isKept = !Array.isArray(momentum) && !values.nesterov;
  const finite = isKept ? update : np.where(isMade(made), update, 0);
  return {
    update: fourAThread(finite.mul(factorOf(stepSize.neg()))),
    state: { momentum, gradientNorms },
  };
}

/** A product whose second factor may be 1. Consumes both. */
function times(factor: np.Array, ratio: np.Array | null): np.Array {
  return ratio === null ? factor : factor.mul(ratio);
}
