/** LARS as a gradient transformation: the steps of docs/specification.md in operations of jax-js. */
import { numpy as np } from "@jax-js/jax";
import { checkObject, shown } from "../../check.js";
import { PERCENTILE_OFF } from "../../decide/percentile-clipping.js";
import { resolveOptions } from "../../options.js";
import type { Hyperparameters, LARSOptions } from "../../options.js";
import { emptyHistory } from "./clipping.js";
import { clipToPercentile, globalClipScale, globalNormOf, usesGradientNorm } from "./decide.js";
import { checkRate, rateAt } from "./learning-rate.js";
import type { ArraySchedule } from "./learning-rate.js";
import type { Mask } from "./masks.js";
import { accumulated, zeroMomentum } from "./momentum.js";
import type { LayerMomentum } from "./momentum.js";
import {
  areFinite,
  computedOnce,
  finiteSum,
  int32,
  isMade,
  rootOf,
  scalar,
  scaledSquares,
} from "./norms.js";
import type { ScaledSquares } from "./norms.js";
import { overTrees, requiredWeights } from "./transformation.js";
import type { GradientTransformation, Layers, OptState } from "./transformation.js";
import { subtreesAt, unflattened } from "./trees.js";
import { decayed, layerRatio, masked, NO_RULE, placementOf } from "./trust-ratio.js";

/** Layers that are left out, whatever optimizer they are for. */
export interface MaskOptions {
  /** Layers with weight decay; the others have λ = 0. Default: all. */
  weightDecayMask?: Mask;
  /** Layers with a trust ratio; the others have the rule `none`. Default: all. */
  trustRatioMask?: Mask;
}

/** Options of {@link lars}: those of `LARS`, but for what can't be inside `jit`. */
export interface LarsOptions extends Omit<LARSOptions, "lr" | "nonFinite">, MaskOptions {
  /**
   * γ: a number ≥ 0, or a function from the count of steps, an int32 scalar that it consumes, to a float32
   * scalar. `tabulated` makes one of a schedule of numbers.
   */
  lr: number | ArraySchedule;
  /**
   * "skip": a gradient with NaN or ±Infinity changes neither weights nor state, but for `skipped`, which
   * counts such steps. "throw" is refused: compiled code can't throw. Default "skip".
   */
  nonFinite?: "skip";
}

/** The state of {@link lars}. */
// Types, not interfaces: only types are trees of arrays to TypeScript.
// eslint-disable-next-line @typescript-eslint/consistent-type-definitions
export type LarsState = {
  /** int32: steps made. */
  count: np.Array;
  /** int32: steps skipped, because a gradient was not finite. */
  skipped: np.Array;
  /** A {@link LarsLayerState} for each leaf of the parameters. */
  layers: OptState;
};

/** What a layer remembers; an empty list where it is not asked to. */
// eslint-disable-next-line @typescript-eslint/consistent-type-definitions
export type LarsLayerState = {
  momentum: LayerMomentum;
  /** float32 [100]: the layer's last gradient norms, with percentile clipping. */
  gradientNorms: np.Array | [];
};

/**
 * LARS as a transformation, for any tree of float32 arrays, inside `jit` and outside:
 *
 *     const optimizer = lars({ lr: 0.1, momentum: 0.9, weightDecay: 1e-4 });
 *     let state = optimizer.init(tree.ref(params));
 *     [updates, state] = optimizer.update(gradients, state, tree.ref(params));
 *     params = applyUpdates(params, updates);
 *
 * It computes what `LARS` does with the same options; masks stand for groups. `update` needs the parameters.
 *
 * Source: You, Gitman, Ginsburg 2017 (arXiv 1708.03888); the shape is that of `optax.lars`.
 *
 * @param options see {@link LarsOptions}; `lr` is required
 * @throws TypeError or RangeError that names the option, the value and what is allowed
 */
export function lars(options: LarsOptions): GradientTransformation {
  const resolved = resolveLars(options);
  return overTrees("lars", {
    init: (layers) => ({
      count: int32(0),
      skipped: int32(0),
      layers: initialStates(layers, resolved),
    }),
    update(step, state) {
      const weights = requiredWeights("lars", step);
      const options = layerValues(step, resolved);
      const { count, skipped, layers } = state as LarsState;
      const states = subtreesAt("lars: state", step.structure, layers) as LarsLayerState[];
      const steps = step.updates.map((gradient, index): LayerStep => ({
        gradient,
        weights: weights[index]!,
        state: states[index]!,
        values: options[index]!,
        squares: needsGradientNorm(options[index]!) ? scaledSquares([gradient.ref])[0]! : null,
      }));
      const made = isWholeStep(steps);
      const shared = { count, made, rate: rateAt(resolved.lr, count.ref) };
      const results = decideClipping(steps, shared).map((clipped) => layerStep(clipped, shared));
      shared.rate.dispose();
      const next: LarsState = {
        skipped: skipped.add(int32(1).sub(made.ref)),
        count: count.add(made),
        layers: unflattened(
          step.structure,
          results.map(({ state: after }) => after),
        ),
      };
      return [results.map(({ update }) => update), next];
    },
  });
}

/**
 * {@link lars} with 8-bit momentum: 1.0157 bytes a parameter, four codes to a uint32. Layers with fewer than
 * `min8bitSize` elements keep 32 bits.
 *
 * @throws as {@link lars} does; RangeError for `optimBits` other than 8
 */
export function lars8bit(options: LarsOptions): GradientTransformation {
  const given = checkObject("options", options) as Partial<LarsOptions>;
  for (const bits of [given.optimBits, given.args?.optimBits]) {
    if (bits !== undefined && bits !== 8) {
      throw new RangeError(`optimBits: got ${shown(bits)}; allowed is 8 under lars8bit`);
    }
  }
  return lars({ ...options, optimBits: 8 });
}

/** Options, checked. */
interface ResolvedLars extends Required<MaskOptions> {
  readonly lr: number | ArraySchedule;
  readonly values: Hyperparameters;
}

function resolveLars(options: LarsOptions): ResolvedLars {
  const given = checkObject("options", options);
  if (given.nonFinite === "throw") {
    throw new RangeError(
      'nonFinite: got "throw"; allowed is "skip": compiled code can\'t throw, state.skipped counts such steps',
    );
  }
  const { lr, weightDecayMask = true, trustRatioMask = true, ...others } = options;
  const values = resolveOptions("options", { ...others, lr: 0, nonFinite: "skip" });
  return { lr: checkRate(lr), values, weightDecayMask, trustRatioMask };
}

/** The options of each layer: what a mask leaves out is as in a group of its own. */
function layerValues(
  layers: Layers,
  { values, weightDecayMask, trustRatioMask }: ResolvedLars,
): Hyperparameters[] {
  const decays = masked("weightDecayMask", weightDecayMask, layers);
  const adapts = masked("trustRatioMask", trustRatioMask, layers);
  return layers.shapes.map((_, index) => ({
    ...values,
    weightDecay: decays[index] === true ? values.weightDecay : 0,
    trustRatio: adapts[index] === true ? values.trustRatio : NO_RULE,
  }));
}

function initialStates(layers: Layers, resolved: ResolvedLars): OptState {
  const options = layerValues(layers, resolved);
  const states = layers.shapes.map((shape, index): LarsLayerState => ({
    momentum: zeroMomentum(options[index]!, shape),
    gradientNorms: options[index]!.percentileClipping === PERCENTILE_OFF ? [] : emptyHistory(),
  }));
  return unflattened(layers.structure, states);
}

/** What all layers have in common in a step. Borrowed. */
interface SharedStep {
  readonly count: np.Array;
  /** int32: 1, or 0 where a gradient is not finite and nothing may change. */
  readonly made: np.Array;
  readonly rate: np.Array;
}

/** A layer on its way through a step, which owns its arrays. */
interface LayerStep {
  readonly gradient: np.Array;
  readonly weights: np.Array;
  readonly state: LarsLayerState;
  readonly values: Hyperparameters;
  /** ‖g‖² where something asks for it. */
  readonly squares: ScaledSquares | null;
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
function layerStep(
  step: ClippedStep,
  { count, made, rate }: SharedStep,
): { update: np.Array; state: LarsLayerState } {
  const { gradient, weights, state, values, norm, clip, gradientNorms } = step;
  const rule = values.trustRatio;
  const placement = placementOf(rule);
  const zeros = values.skipZeros ? gradient.ref.equal(0) : null;
  const ratioOf = (update: np.Array): np.Array | null =>
    layerRatio(rule, {
      weights,
      update,
      gradient: () => norm!.ref,
      learningRate: () => rate.ref,
      weightDecay: values.weightDecay,
    });

  const clipped = clip === null ? gradient : gradient.mul(computedOnce(clip));
  let direction = decayed(clipped, weights, values.weightDecay, zeros);
  const factorOf = (factor: np.Array): np.Array => computedOnce(np.where(isMade(made), factor, 0));
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
  // Momentum that is kept is finite where the gradient is not; NaN times the factor 0 would be NaN.
  const isKept = !Array.isArray(momentum) && !values.nesterov;
  const finite = isKept ? update : np.where(isMade(made), update, 0);
  return { update: finite.mul(factorOf(stepSize.neg())), state: { momentum, gradientNorms } };
}

/** A product whose second factor may be 1. Consumes both. */
function times(factor: np.Array, ratio: np.Array | null): np.Array {
  return ratio === null ? factor : factor.mul(ratio);
}
