/**
 * The decisions of a step in operations of jax-js, for code that runs inside `jit`, where a norm is never a
 * number: the twin of clipping in src/decide/, and the quotients that its rules are, evaluated on arrays.
 *
 * Every function consumes the arrays that it is given and returns one that the caller owns. All are float32 vectors, an
 * element for each layer, or scalars of one layer; rates are scalars.
 */
import { numpy as np } from "@jax-js/jax";
import { EPSILON } from "../../decide/global-clipping.js";
import { HISTORY_LENGTH } from "../../decide/percentile-clipping.js";
import type { Quotient, StepFactors } from "../../decide/rules/rule.js";
import { ruleOf } from "../../decide/trust-ratio.js";
import type { TrustRatio } from "../../decide/trust-ratio.js";
import { normOf } from "./norms.js";
import { int32, scalar } from "./scalars.js";
import { joined } from "./vectors.js";

/** γ, made anew by each call. */
export type ArrayRate = () => np.Array;

/** The norms of layers, each asked for once at most: what a rule does not need is never computed. */
export interface ArrayNorms {
  /** ‖w‖ before the step. */
  weight(): np.Array;
  /** ‖c·g‖. */
  gradient(): np.Array;
  /** ‖u‖, or ‖d‖ for a joint denominator. */
  update(): np.Array;
}

/** r, or null where it is 1 whatever the norms are. */
export function trustRatioOf(
  trustRatio: TrustRatio,
  norms: ArrayNorms,
  factors: StepFactors<ArrayRate>,
): np.Array | null {
  const quotient = ruleOf(trustRatio).quotient(trustRatio, factors);
  return quotient === null ? null : evaluated(quotient, norms);
}

function evaluated(quotient: Quotient<ArrayRate>, norms: ArrayNorms): np.Array {
  const weight = norms.weight();
  const denominator = denominatorOf(quotient, weight, norms);
  const isZero = np.minimum(weight.ref, denominator.ref).equal(0);
  const divisor = np.where(isZero.ref, 1, denominator);
  const ratio = weight.mul(quotient.coefficient).div(divisor);
  return np.where(isZero, quotient.whenZero, limited(ratio, quotient.limit));
}

/** Borrows ‖w‖. */
function denominatorOf(quotient: Quotient<unknown>, weight: np.Array, norms: ArrayNorms): np.Array {
  const terms: [number, () => np.Array][] = [
    [quotient.gradient, () => norms.gradient()],
    [quotient.weight, () => weight.ref],
    [quotient.update, () => norms.update()],
  ];
  return terms
    .flatMap(([factor, norm]) => (factor === 0 ? [] : norm().mul(factor)))
    .reduce((sum, term) => sum.add(term))
    .add(quotient.eps);
}

function limited(ratio: np.Array, limit: number | ArrayRate | null): np.Array {
  if (limit === null) return ratio;
  const most = typeof limit === "number" ? scalar(limit) : limit();
  const reached = ratio.ref.greaterEqual(most.ref);
  return np.where(reached.ref, 1, ratio.div(np.where(reached, 1, most)));
}

/** Whether a rule asks for ‖c·g‖. */
export function usesGradientNorm(trustRatio: TrustRatio): boolean {
  const factors = { weightDecay: 0, learningRate: 0 };
  return (ruleOf(trustRatio).quotient(trustRatio, factors)?.gradient ?? 0) !== 0;
}

/** Whether a rule asks for γ. */
export function usesLearningRate(trustRatio: TrustRatio): boolean {
  const factors = { weightDecay: 0, learningRate: "γ" } as const;
  return ruleOf(trustRatio).quotient(trustRatio, factors)?.limit === "γ";
}

/** Clipping factors, and histories for the next step. */
export interface ArrayClip {
  /** [layers]. */
  readonly scale: np.Array;
  /** [layers, 100] norms. Not squared, as the core keeps them: the square of a float32 may be none. */
  readonly history: np.Array;
}

/**
 * Percentile clipping.
 *
 * @param history [layers, 100], anything on a first step
 * @param count steps made before this one, int32 scalar
 * @param norm ‖g‖, unclipped: [layers]
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
  const next = np.where(isWritten.notEqual(int32(0)), norm.ref.reshape([norm.size, 1]), history);
  const threshold = np.sort(next.ref).slice([], percentile);
  const isAbove = norm.ref.greater(threshold.ref);
  // jax-js divides by a reciprocal, which is infinite for a denormal norm; a power of two rounds nothing.
  const unit = np.where(norm.ref.less(TINY), 1 / TINY, 1);
  const quotient = threshold.mul(unit.ref).div(np.where(isAbove.ref, norm.mul(unit), 1));
  return { scale: np.where(isAbove, quotient, 1), history: next };
}

/** Far above what has no reciprocal, and far below what becomes infinite over it. */
const TINY = 2 ** -100;

/** Global clipping: a scalar. The twin of `globalClipScale`. */
export function globalClipScale(globalNorm: np.Array, maxGradNorm: number): np.Array {
  return np.minimum(np.reciprocal(globalNorm.add(EPSILON)).mul(maxGradNorm), 1);
}

/** The norm of all layers together, a scalar, from vectors of their norms. */
export function globalNormOf(norms: readonly np.Array[]): np.Array {
  return normOf(joined(norms));
}
