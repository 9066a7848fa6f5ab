/**
 * Decisions on tensors: the twins of decide/ for numbers that stay on a device. Trust-ratio rules have none,
 * they arrive as quotients.
 */
import { EPSILON } from "../../../decide/global-clipping.js";
import { HISTORY_LENGTH } from "../../../decide/percentile-clipping.js";
import type { Quotient } from "../../../decide/rules/rule.js";
import type { Tensor, TensorFlow } from "../tensorflow.js";

/** The norms of all layers: [layers] each, 0 where a layer's rule needs none. */
export interface DeviceNorms {
  readonly gradient: Tensor;
  readonly weight: Tensor;
  readonly update: Tensor;
}

/** What a step knows once its layers have been measured. */
export interface StepNorms {
  /** [layers]: ‖g‖. */
  readonly gradient: Tensor;
  /** [layers]: 1, or 0 where a gradient is not finite. */
  readonly finite: Tensor;
  /** A bool scalar: whether all are finite. */
  readonly isFinite: Tensor;
  /**
   * [layers]: the trust ratios.
   *
   * @param quotients null: 1
   * @param clip [layers]: what ‖g‖ is yet to be multiplied by; null: 1
   */
  ratios(quotients: readonly (Quotient | null)[], clip: Tensor | null): Tensor;
}

/** The norms as tensors. */
export class TensorNorms implements StepNorms {
  readonly #tf: TensorFlow;
  readonly #norms: DeviceNorms;
  readonly finite: Tensor;
  readonly isFinite: Tensor;

  /** @param measured [4] each: ‖g‖, ‖w‖ and ‖u‖, 0 where not wanted, and 1 where all of g is finite, else 0 */
  constructor(tf: TensorFlow, measured: readonly Tensor[]) {
    this.#tf = tf;
    const [gradient, weight, update, finite] = tf.unstack(tf.stack([...measured]), 1);
    this.#norms = { gradient: gradient!, weight: weight!, update: update! };
    this.finite = finite!;
    this.isFinite = tf.greater(tf.min(finite!), 0);
  }

  get gradient(): Tensor {
    return this.#norms.gradient;
  }

  ratios(quotients: readonly (Quotient | null)[], clip: Tensor | null): Tensor {
    const { gradient } = this.#norms;
    const norms = clip === null ? {} : { gradient: this.#tf.mul(clip, gradient) };
    return evaluateQuotients(this.#tf, quotients, { ...this.#norms, ...norms });
  }
}

/** Without a rule, r = 1. */
export const UNIT: Quotient = {
  ...{ coefficient: 0, gradient: 0, weight: 0, update: 0, eps: 0 },
  ...{ limit: null, whenZero: 1 },
};

/** Stands for no limit: limits are ≥ 0. */
export const NO_LIMIT = -1;

/**
 * The trust ratios of all layers. The twin of `trustRatioOf`.
 *
 * @param quotients null: 1
 */
export function evaluateQuotients(
  tf: TensorFlow,
  quotients: readonly (Quotient | null)[],
  norms: DeviceNorms,
): Tensor {
  const all = quotients.map((quotient) => quotient ?? UNIT);
  const each = (valueOf: (quotient: Quotient) => number): Tensor =>
    tf.tensor(Float32Array.from(all, valueOf), [all.length]);
  let denominator = each(({ eps }) => eps);
  for (const name of ["gradient", "weight", "update"] as const) {
    if (all.every((quotient) => quotient[name] === 0)) continue;
    const factor = each((quotient) => quotient[name]);
    denominator = tf.add(tf.mul(norms[name], factor), denominator);
  }
  const isZero = tf.logicalOr(tf.equal(norms.weight, 0), tf.equal(denominator, 0));
  const coefficient = each((quotient) => quotient.coefficient);
  let ratio = tf.div(tf.mul(norms.weight, coefficient), denominator);
  if (all.some(({ limit }) => limit !== null)) {
    const limit = each((quotient) => quotient.limit ?? NO_LIMIT);
    const one = tf.fill([all.length], 1);
    const limited = tf.where(tf.greaterEqual(ratio, limit), one, tf.div(ratio, limit));
    ratio = tf.where(tf.less(limit, 0), ratio, limited);
  }
  const whenZero = each((quotient) => quotient.whenZero);
  return tf.where(isZero, whenZero, ratio);
}

/** What an empty place of a history holds: norms are ≥ 0. */
const EMPTY = -1;

/** A layer's history before its first step: norms, not their squares, which float32 could not hold. */
export function emptyHistory(): Float32Array {
  return new Float32Array(HISTORY_LENGTH).fill(EMPTY);
}

/** Whether a history is that of a layer which has made no step since clipping was on. */
export function isEmptyHistory(norms: ArrayLike<number>): boolean {
  return norms[0] === EMPTY;
}

/** What percentile clipping looks at, for all layers that have it. */
export interface PercentileLayers {
  /** [layers, 100] norms */
  readonly histories: Tensor;
  /** [layers, 1]: k, this step's count for the layer, from 1 */
  readonly stepCounts: Tensor;
  /** [layers]: ‖g‖, unclipped */
  readonly gradients: Tensor;
  readonly percentiles: readonly number[];
}

/**
 * Percentile clipping of all layers at once. The twin of `clipToPercentile`.
 *
 * @returns the scales [layers], and the histories with this step's norms in them
 */
export function clipToPercentiles(
  tf: TensorFlow,
  { histories, stepCounts, gradients, percentiles }: PercentileLayers,
): { scales: Tensor; histories: Tensor } {
  const slots = tf.tensor(
    Float32Array.from({ length: HISTORY_LENGTH }, (_, index) => index),
    [1, HISTORY_LENGTH],
  );
  const isNow = tf.equal(slots, tf.mod(stepCounts, HISTORY_LENGTH));
  const next = tf.where(
    tf.logicalOr(isNow, tf.less(histories, 0)),
    tf.reshape(gradients, [percentiles.length, 1]),
    histories,
  );
  const thresholds = orderStatistics(tf, next, percentiles);
  const exceeds = tf.greater(gradients, thresholds);
  const scales = tf.where(exceeds, tf.div(thresholds, gradients), tf.scalar(1));
  return { scales, histories: next };
}

/** Rows that are ranked at once: all their pairs of numbers are in an array, 10 MB of it. */
const RANKED = 256;

/**
 * sorted[index] of each row: the largest value that has at most `index` smaller ones. Without tf.topk, which reads
 * short arrays back to sort them on the CPU.
 */
function orderStatistics(tf: TensorFlow, rows: Tensor, indices: readonly number[]): Tensor {
  if (indices.length > RANKED) {
    const parts: Tensor[] = [];
    for (let start = 0; start < indices.length; start += RANKED) {
      const own = indices.slice(start, start + RANKED);
      const places = Int32Array.from(own, (_, place) => start + place);
      const some = tf.gather(rows, tf.tensor(places, [own.length], "int32"));
      parts.push(orderStatistics(tf, some, own));
    }
    return tf.concat(parts);
  }
  const [count, length] = [indices.length, HISTORY_LENGTH];
  const isSmaller = tf.less(
    tf.reshape(rows, [count, 1, length]),
    tf.reshape(rows, [count, length, 1]),
  );
  // Not a product with ones: on WebGPU, SwiftShader took above a minute over its first one.
  const smaller = tf.sum(tf.cast(isSmaller, "float32"), 2);
  const most = tf.tensor(Float32Array.from(indices), [count, 1]);
  return tf.max(tf.where(tf.lessEqual(smaller, most), rows, tf.scalar(0)), 1);
}

/**
 * Global clipping, for each layer. The twin of `globalClipScale`.
 *
 * @param maxGradNorms null: 1
 */
export function globalClipScales(
  tf: TensorFlow,
  globalNorm: Tensor,
  maxGradNorms: readonly (number | null)[],
): Tensor {
  const shape = [maxGradNorms.length];
  const limits = tf.tensor(
    Float32Array.from(maxGradNorms, (limit) => limit ?? NO_LIMIT),
    shape,
  );
  const scales = tf.minimum(1, tf.div(limits, tf.add(globalNorm, EPSILON)));
  return tf.where(tf.less(limits, 0), tf.fill(shape, 1), scales);
}
