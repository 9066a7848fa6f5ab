/**
 * The decisions of a step in operations of jax-js: the twin of src/decide/, for code that runs inside
 * `jit`, where a norm is never a number. A rule changes there and here; the tests hold one to the other.
 *
 * Every function consumes the arrays that it is given and returns one that the caller owns. All are
 * float32 scalars, except for the history.
 */
import { numpy as np } from "@jax-js/jax";
import { HISTORY_LENGTH } from "../../decide/percentile-clipping.js";
import { ratioWhenZero } from "../../decide/rules/rule.js";
import type { WhenZero } from "../../decide/rules/rule.js";
import type { ScaleGradient } from "../../decide/rules/scale-gradient.js";
import type { TrustRatio } from "../../decide/trust-ratio.js";
import { int32, normOf } from "./norms.js";

/** The norms of a layer. Each call makes a new array: what a rule does not need is never computed. */
export interface ArrayNorms {
  /** ‖w‖ before the step. */
  weight(): np.Array;
  /** ‖c·g‖. */
  gradient(): np.Array;
  /** ‖u‖, or ‖d‖ for a joint denominator. */
  update(): np.Array;
  /** γ. */
  learningRate(): np.Array;
  readonly weightDecay: number;
}

/** r, or null where it is 1 whatever the norms are. */
export function trustRatioOf(rule: TrustRatio, norms: ArrayNorms): np.Array | null {
  switch (rule.rule) {
    case "none":
      return null;
    case "clip-update": {
      if (rule.maxUnorm === 0) return null;
      const quotient = quotientOf(norms.weight(), norms.update(), rule.maxUnorm);
      return unlessZero(quotient, rule.whenZero, (ratio) => np.minimum(ratio, 1));
    }
    case "scale-update": {
      const denominator = norms.update().add(rule.eps);
      return unlessZero(quotientOf(norms.weight(), denominator, rule.coefficient), rule.whenZero);
    }
    case "scale-gradient":
      return scaleGradientRatio(rule, norms);
  }
}

function scaleGradientRatio(rule: ScaleGradient, norms: ArrayNorms): np.Array {
  const weight = norms.weight();
  const denominator = scaleGradientDenominator(rule, weight.ref, norms).add(rule.eps);
  const quotient = quotientOf(weight, denominator, rule.coefficient);
  return unlessZero(quotient, rule.whenZero, (ratio) => {
    if (!rule.clip) return ratio;
    const learningRate = norms.learningRate();
    // For γ = 0 too, where 0/0 would say nothing: the step is 0 whatever r is.
    const reached = ratio.ref.greaterEqual(learningRate.ref);
    return np.where(reached.ref, 1, ratio.div(np.where(reached, 1, learningRate)));
  });
}

function scaleGradientDenominator(
  rule: ScaleGradient,
  weight: np.Array,
  norms: ArrayNorms,
): np.Array {
  if (rule.denominator === "sum" && norms.weightDecay !== 0) {
    return norms.gradient().add(weight.mul(norms.weightDecay));
  }
  weight.dispose();
  return rule.denominator === "joint" ? norms.update() : norms.gradient();
}

/** η·‖w‖ / D, and whether both norms say anything. */
interface Quotient {
  readonly isZero: np.Array;
  readonly ratio: np.Array;
}

function quotientOf(weight: np.Array, denominator: np.Array, coefficient: number): Quotient {
  const isZero = np.minimum(weight.ref, denominator.ref).equal(0);
  const divisor = np.where(isZero.ref, 1, denominator);
  return { isZero, ratio: weight.mul(coefficient).div(divisor) };
}

/** The zero-norm rule goes before all else: an r that stands for "no adaptation" is not clipped. */
function unlessZero(
  { isZero, ratio }: Quotient,
  whenZero: WhenZero,
  finish: (ratio: np.Array) => np.Array = (unchanged) => unchanged,
): np.Array {
  return np.where(isZero, ratioWhenZero(whenZero), finish(ratio));
}

/** A layer's clipping factor, and its history for the next step. */
export interface ArrayClip {
  readonly scale: np.Array;
  /** [100] norms. Not squared, as the core keeps them: the square of a float32 may be none. */
  readonly history: np.Array;
}

/**
 * Percentile clipping.
 *
 * @param history [100], anything on a first step
 * @param count steps made before this one, int32
 * @param norm ‖g‖, unclipped
 * @param percentile 1 … 99: the index into the sorted history
 */
export function clipToPercentile(
  history: np.Array,
  count: np.Array,
  norm: np.Array,
  percentile: number,
): ArrayClip {
  const slots = np.arange(HISTORY_LENGTH, undefined, undefined, { dtype: np.int32 });
  const slot = count.ref.add(int32(1)).mod(int32(HISTORY_LENGTH));
  const isWritten = np.maximum(
    slots.equal(slot).astype(np.int32),
    count.equal(int32(0)).astype(np.int32),
  );
  const next = np.where(isWritten.notEqual(int32(0)), norm.ref, history);
  const threshold = np.sort(next.ref).slice(percentile);
  const isAbove = norm.ref.greater(threshold.ref);
  const scale = np.where(isAbove.ref, threshold.div(np.where(isAbove, norm, 1)), 1);
  return { scale, history: next };
}

/** PyTorch's `clip_grad_norm_` divides by the norm plus this. */
const GLOBAL_EPSILON = 1e-6;

/** min(1, maxGradNorm / (norm + 1e-6)). */
export function globalClipScale(globalNorm: np.Array, maxGradNorm: number): np.Array {
  return np.minimum(np.reciprocal(globalNorm.add(GLOBAL_EPSILON)).mul(maxGradNorm), 1);
}

/** The norm of all layers together, from the norms of each. */
export function globalNormOf(norms: readonly np.Array[]): np.Array {
  return normOf(np.stack([...norms]));
}
