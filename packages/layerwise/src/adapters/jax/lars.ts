/** LARS as a gradient transformation: the steps of docs/specification.md in operations of jax-js. */
import type { numpy as np } from "@jax-js/jax";
import { checkObject, shown } from "../../check.js";
import { PERCENTILE_OFF } from "../../decide/percentile-clipping.js";
import { resolveOptions } from "../../options/options.js";
import type { Hyperparameters, LARSOptions } from "../../options/options.js";
import { emptyHistory } from "./clipping.js";
import type { LarsLayerState } from "./lars-step.js";
import { stepOver } from "./lars-step.js";
import { checkRate, rateAt } from "./learning-rate.js";
import type { ArraySchedule } from "./learning-rate.js";
import type { Mask } from "./masks.js";
import { checkMomentum, zeroMomentum } from "./momentum.js";
import { int32 } from "./scalars.js";
import { checkCount, checkEmpty, checkFields, checkHistory } from "./states.js";
import { overTrees, requiredWeights } from "./transformation.js";
import type { GradientTransformation, Layers, OptState } from "./transformation.js";
import { subtreesAt, unflattened } from "./trees.js";
import { masked, NO_RULE } from "./trust-ratio.js";

/** Masks: which layers get weight decay and a trust ratio. */
export interface MaskOptions {
  /** Layers with weight decay; the others have λ = 0. Default: all. */
  weightDecayMask?: Mask;
  /** Layers with a trust ratio; the others have the rule `none`. Default: all. */
  trustRatioMask?: Mask;
}

/** Options of {@link lars}: those of `LARS`, except what can't work inside `jit`. */
export interface LarsOptions extends Omit<LARSOptions, "lr" | "nonFinite">, MaskOptions {
  /**
   * γ: a number ≥ 0, or a function from the count of steps, an int32 scalar that it consumes, to a float32
   * scalar. `tabulated` makes one of a schedule of numbers.
   */
  lr: number | ArraySchedule;
  /**
   * "skip": a gradient with NaN or ±Infinity changes neither weights nor state, except `skipped`, which
   * counts such steps. "throw" is an error, because compiled code can't throw. Default "skip".
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

/**
 * LARS as a transformation, for any tree of float32 arrays, inside `jit` and outside:
 *
 *     const optimizer = lars({ lr: 0.1, momentum: 0.9, weightDecay: 1e-4 });
 *     let state = optimizer.init(tree.ref(params));
 *     [updates, state] = optimizer.update(gradients, state, tree.ref(params));
 *     params = applyUpdates(params, updates);
 *
 * It computes what `LARS` computes with the same options; masks replace groups. `update` needs the parameters.
 *
 * Source: You, Gitman, Ginsburg 2017 (arXiv 1708.03888); the shape is that of `optax.lars`.
 *
 * @param options see {@link LarsOptions}; `lr` is required
 * @throws TypeError or RangeError that names the option, what was expected, and the value
 */
export function lars(options: LarsOptions): GradientTransformation<LarsState> {
  return named("lars", options);
}

function named(name: string, options: LarsOptions): GradientTransformation<LarsState> {
  const resolved = resolveLars(options);
  return overTrees<LarsState>(name, {
    init: (layers) => ({
      count: int32(0),
      skipped: int32(0),
      layers: initialStates(layers, resolved),
    }),
    update(step, state) {
      const options = layerValues(step, resolved);
      const states = checkedLayers(name, { layers: step, options, state });
      const weights = requiredWeights(name, step);
      const inputs = step.updates.map((gradient, index) => ({
        gradient,
        weights: weights[index]!,
        state: states[index]!,
        values: options[index]!,
      }));
      const rate = rateAt(resolved.lr, state.count.ref);
      const { outcomes, count, skipped } = stepOver(inputs, {
        count: state.count,
        skipped: state.skipped,
        rate,
      });
      const next = unflattened(
        step.structure,
        outcomes.map(({ state: after }) => after),
      );
      return [outcomes.map(({ update }) => update), { count, skipped, layers: next }];
    },
  });
}

/** The states of the layers, checked. A state of other options throws an error that names the layer. */
function checkedLayers(
  name: string,
  {
    layers: { shapes, structure },
    options,
    state,
  }: { layers: Layers; options: readonly Hyperparameters[]; state: LarsState },
): LarsLayerState[] {
  checkFields(name, state, ["count", "skipped", "layers"]);
  checkCount(name, "count", state.count);
  checkCount(name, "skipped", state.skipped);
  return subtreesAt(`${name}: state: layers`, structure, state.layers).map((layerState, index) => {
    const layer = shapes[index]!;
    const values = options[index]!;
    checkFields(`${name}: layer ${shown(layer.name)}`, layerState, ["momentum", "gradientNorms"]);
    const { momentum, gradientNorms } = layerState as LarsLayerState;
    checkMomentum(name, values, { layer, momentum });
    const what = `${name}: state: gradientNorms of layer ${shown(layer.name)}`;
    if (values.percentileClipping === PERCENTILE_OFF) checkEmpty(what, gradientNorms);
    else checkHistory(what, gradientNorms);
    return { momentum, gradientNorms };
  });
}

/**
 * {@link lars} with 8-bit momentum: 1.0157 bytes per parameter, with four codes in a uint32. Layers with fewer than
 * `min8bitSize` elements keep 32 bits.
 *
 * @throws what {@link lars} throws; RangeError for `optimBits` other than 8
 */
export function lars8bit(options: LarsOptions): GradientTransformation<LarsState> {
  const given = checkObject("options", options) as Partial<LarsOptions>;
  for (const bits of [given.optimBits, given.args?.optimBits]) {
    if (bits !== undefined && bits !== 8) {
      throw new RangeError(`optimBits: expected 8 under lars8bit, got ${shown(bits)}`);
    }
  }
  return named("lars8bit", { ...options, optimBits: 8 });
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
      'nonFinite: expected "skip", got "throw": compiled code can\'t throw; state.skipped counts such steps',
    );
  }
  const { lr, weightDecayMask = true, trustRatioMask = true, ...others } = options;
  const values = resolveOptions("options", { ...others, lr: 0, nonFinite: "skip" });
  return { lr: checkRate(lr), values, weightDecayMask, trustRatioMask };
}

/** The options of each layer. Layers that a mask excludes are as in a group of their own. */
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
