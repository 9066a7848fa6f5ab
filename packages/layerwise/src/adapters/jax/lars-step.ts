/**
 * One step of LARS over layers in operations of jax-js: measured, decided, applied, as in the core. What is decided is
 * decided for many layers at once, on vectors with an element for each.
 */
import { numpy as np } from "@jax-js/jax";
import { PERCENTILE_OFF } from "../../decide/percentile-clipping.js";
import { ruleOf } from "../../decide/trust-ratio.js";
import type { Hyperparameters } from "../../options/options.js";
import { stackedHistories } from "./clipping.js";
import { computedOnce, fourAThread, isSmall } from "./compiled.js";
import { countMade, countSkipped, isMadeFrom } from "./counters.js";
import type { IsMade } from "./counters.js";
import { clipToPercentile, globalClipScale, globalNormOf, usesGradientNorm } from "./decide.js";
import { accumulated, updateAlone } from "./momentum.js";
import type { LayerMomentum } from "./momentum.js";
import { areAllFinite, finiteSum, rootOf, scaledSquares } from "./norms.js";
import type { ScaledSquares } from "./norms.js";
import { scalar } from "./scalars.js";
import { isArray } from "./trees.js";
import { decayed, placementOf, ratiosOf } from "./trust-ratio.js";
import { grouped, scaled } from "./vectors.js";

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
  readonly rate: np.Array;
  /** No, where a gradient is not finite and nothing may change. */
  readonly isMade: IsMade;
}

/** A layer and its options, before a step. */
export interface LayerInputs {
  readonly gradient: np.Array;
  readonly weights: np.Array;
  readonly state: LarsLayerState;
  readonly values: Hyperparameters;
}

/** What becomes of a layer. */
export interface LayerOutcome {
  /** What is to be added to the weights. */
  readonly update: np.Array;
  readonly state: LarsLayerState;
}

/** Layers that are decided together: with the same options, measured in the same way. */
interface LayerGroup {
  readonly layers: readonly LayerInputs[];
  /** Their positions among all layers. */
  readonly positions: readonly number[];
  readonly values: Hyperparameters;
}

/** A group on its way through a step, which owns its arrays. All vectors have an element for each layer. */
interface GroupStep extends LayerGroup {
  /** Finite exactly if all gradients are. */
  readonly sums: readonly np.Array[];
  /** ‖g‖² where something asks for it. */
  readonly squares: ScaledSquares | null;
  /** ‖w‖, and ‖u‖ or ‖d‖ where the rule asks for it, if they are known before the momentum is. */
  readonly norms: readonly np.Array[] | null;
}

/** A step over all layers. */
export interface StepOutcome {
  readonly outcomes: LayerOutcome[];
  /** int32: steps made. */
  readonly count: np.Array;
  /** int32: steps skipped, because a gradient was not finite. */
  readonly skipped: np.Array;
}

/**
 * A step over all layers, whole or not at all.
 *
 * @param layers consumed
 * @param count int32: steps made before. Consumed
 * @param skipped int32: steps skipped before. Consumed
 * @param rate γ. Consumed
 */
export function stepOver(
  layers: readonly LayerInputs[],
  { count, skipped, rate }: Record<"count" | "skipped" | "rate", np.Array>,
): StepOutcome {
  const groups = grouped(layers, keyOf).map(({ items, positions }) => ({
    layers: items,
    positions,
    values: items[0]!.values,
  }));
  const measures = groups.map((group) => measured(group, count));
  const isFinite = areAllFinite(measures.flatMap(({ sums }) => sums));
  const skips = countSkipped(skipped, isFinite);
  const steps = countMade(count, skips.made);
  const shared = { count, rate, isMade: isMadeFrom(steps.made) };
  const outcomes: LayerOutcome[] = [];
  for (const group of decideClipping(measures, shared)) {
    const applied = groupStep(group, shared);
    group.positions.forEach((position, index) => (outcomes[position] = applied[index]!));
  }
  for (const each of [count, rate, steps.made]) each.dispose();
  return { outcomes, count: steps.next, skipped: skips.next };
}

/** Options differ by masks alone: in the rule and the decay. */
function keyOf({ gradient, values, state }: LayerInputs): string {
  const { trustRatio, weightDecay } = values;
  return [trustRatio.rule, weightDecay, isSmall(gradient), "codes" in state.momentum].join();
}

/** A group with what is measured before anything is decided. */
function measured(group: LayerGroup, count: np.Array): GroupStep {
  const { layers, values } = group;
  if (isMeasuredAtOnce(group)) {
    const { update } = ruleOf(values.trustRatio).measures(values.trustRatio);
    const [squares, ...others] = scaledSquares(
      layers.map((layer) => [
        layer.gradient.ref,
        layer.weights.ref,
        ...(update === "nothing" ? [] : [updateBefore(layer, count)]),
      ]),
    );
    return { ...group, sums: [squares!.sum.ref], squares: squares!, norms: others.map(rootOf) };
  }
  if (needsGradientNorm(values)) {
    const [squares] = scaledSquares(layers.map(({ gradient }) => [gradient.ref]));
    return { ...group, sums: [squares!.sum.ref], squares: squares!, norms: null };
  }
  const sums = layers.map(({ gradient }) => finiteSum(gradient.ref));
  return { ...group, sums, squares: null, norms: null };
}

/**
 * Whether all norms of a layer come from one kernel. The momentum can only be written once all gradients are known to be
 * finite, so that u is computed once more for it; for 8 bits that would be all their look-ups.
 */
function isMeasuredAtOnce({ layers, values }: LayerGroup): boolean {
  const { percentileClipping, maxGradNorm, trustRatio } = values;
  const { gradient, state } = layers[0]!;
  const clips = percentileClipping !== PERCENTILE_OFF || maxGradNorm !== null;
  const isPacked = "codes" in state.momentum;
  const { weights } = ruleOf(trustRatio).measures(trustRatio);
  return isSmall(gradient) && weights && !clips && !isPacked;
}

/** u without clipping, or d under a rule that goes before the momentum. Borrows the layer. */
function updateBefore(
  { gradient, weights, state, values }: LayerInputs,
  count: np.Array,
): np.Array {
  const zeros = zerosOf(gradient, values);
  const direction = decayed(gradient.ref, weights, values.weightDecay, zeros);
  const isAfter = placementOf(values.trustRatio) === "after";
  const momentum = isAfter && isArray(state.momentum) ? state.momentum.ref : null;
  return updateAlone(values, { direction, zeros, momentum, count });
}

/** Where skipZeros leaves elements alone. Borrows the gradient. */
function zerosOf(gradient: np.Array, { skipZeros }: Hyperparameters): np.Array | null {
  return skipZeros ? gradient.ref.equal(0) : null;
}

/** A group whose clipping is decided. */
interface ClippedGroup extends LayerGroup {
  readonly norms: GroupStep["norms"];
  /** ‖c·g‖, or null where nothing asks for it. */
  readonly norm: np.Array | null;
  /** c, or null where nothing clips. */
  readonly clip: np.Array | null;
  /** What the layers remember of their gradients. */
  readonly gradientNorms: readonly LarsLayerState["gradientNorms"][];
}

/** Steps 3 and 4 of the specification: percentile clipping, then the limit on all layers together. */
function decideClipping(groups: readonly GroupStep[], shared: SharedStep): ClippedGroup[] {
  const clipped = groups.map((group) => percentileClipped(group, shared));
  const { maxGradNorm } = groups[0]!.values;
  if (maxGradNorm === null) return clipped;
  const globalNorm = globalNormOf(clipped.map(({ norm }) => norm!.ref));
  const scale = computedOnce(globalClipScale(globalNorm, maxGradNorm));
  const limited = clipped.map((group) => ({
    ...group,
    norm: group.norm!.mul(scale.ref),
    clip: times(group.clip ?? np.ones([group.layers.length]), scale.ref),
  }));
  scale.dispose();
  return limited;
}

function percentileClipped(
  { layers, positions, values, squares, norms }: GroupStep,
  { count, isMade }: SharedStep,
): ClippedGroup {
  const group = { layers, positions, values, norms };
  const gradientNorms = layers.map(({ state }) => state.gradientNorms);
  if (squares === null) return { ...group, norm: null, clip: null, gradientNorms };
  const norm = rootOf(squares);
  const { percentileClipping } = values;
  if (percentileClipping === PERCENTILE_OFF) {
    return { ...group, norm, clip: null, gradientNorms };
  }
  const histories = gradientNorms as np.Array[];
  const { scale, history } = clipToPercentile(
    stackedHistories(histories.map(({ ref }) => ref)),
    count.ref,
    norm.ref,
    percentileClipping,
  );
  const kept = histories.map((before, index) =>
    np.where(isMade(), history.ref.slice(index), before),
  );
  history.dispose();
  return { ...group, norm: norm.mul(scale.ref), clip: scale, gradientNorms: kept };
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

/** Steps 4 to 8 of the layers of a group. Consumes the group's arrays. */
function groupStep(group: ClippedGroup, { count, isMade, rate }: SharedStep): LayerOutcome[] {
  const { layers, values, norm, norms, gradientNorms } = group;
  const placement = placementOf(values.trustRatio);
  const weights = layers.map((layer) => layer.weights);
  const ratiosFrom = (updates: readonly np.Array[]): np.Array | null =>
    ratiosOf(values.trustRatio, {
      weights,
      updates,
      known: norms,
      gradient: () => norm!.ref,
      learningRate: () => rate.ref,
      weightDecay: values.weightDecay,
    });
  const ifMade = (factors: np.Array): np.Array => np.where(isMade(), factors, 0);

  const zeros = layers.map(({ gradient }) => zerosOf(gradient, values));
  const clipped = clippedGradients(group);
  let directions = clipped.map((gradient, index) =>
    decayed(gradient, weights[index]!, values.weightDecay, zeros[index]!),
  );
  if (placement !== "after") {
    const ratios = ratiosFrom(directions);
    const factors = placement === "classic" ? times(rate.ref, ratios) : ratios;
    if (factors !== null) directions = scaled(directions, ifMade(factors));
  }
  const moved = directions.map((direction, index) =>
    accumulated(values, {
      direction,
      zeros: zeros[index]!,
      momentum: layers[index]!.state.momentum,
      count,
      isMade,
    }),
  );
  const updates = moved.map(({ update }) => update);
  const ratios = placement === "after" ? ratiosFrom(updates) : null;
  const steps = placement === "classic" ? scalar(1) : times(rate.ref, ratios);
  for (const each of [...weights, norm, ...(norms ?? [])]) each?.dispose();
  // Momentum that is kept is finite where the gradient is not; NaN times the factor 0 would be NaN.
  const isKept = values.momentum !== 0 && !values.nesterov;
  const finite = isKept ? updates : updates.map((update) => np.where(isMade(), update, 0));
  return scaled(finite, ifMade(steps.neg())).map((update, index) => ({
    update: fourAThread(update),
    state: { momentum: moved[index]!.momentum, gradientNorms: gradientNorms[index]! },
  }));
}

/** c·g. Consumes the gradients and c. */
function clippedGradients({ layers, clip }: ClippedGroup): np.Array[] {
  const gradients = layers.map(({ gradient }) => gradient);
  return clip === null ? gradients : scaled(gradients, clip);
}

/** A product whose second factor may be 1. Consumes both. */
function times(factor: np.Array, ratio: np.Array | null): np.Array {
  return ratio === null ? factor : factor.mul(ratio);
}
