/**
 * Decisions on tensors: the twins of decide/ for numbers that stay on a device. Trust-ratio rules have none,
 * they arrive as quotients.
 */
import { EPSILON } from "../../decide/global-clipping.js";
import { HISTORY_LENGTH } from "../../decide/percentile-clipping.js";
import type { Quotient } from "../../decide/rules/rule.js";
import type { Tensor, TensorFlow } from "./tensorflow.js";

/** The norms of one layer, as scalars of a device; null where its rule needs none. */
export interface DeviceNorms {
  readonly gradient: Tensor;
  readonly weight: Tensor | null;
  readonly update: Tensor | null;
}

/** A trust ratio. The twin of `trustRatioOf`. */
export function evaluateQuotient(
  tf: TensorFlow,
  quotient: Quotient,
  { gradient, weight, update }: DeviceNorms,
): Tensor {
  let denominator: Tensor | number = quotient.eps;
  for (const [factor, value] of [
    [quotient.gradient, gradient],
    [quotient.weight, weight],
    [quotient.update, update],
  ] as const) {
    if (factor !== 0 && value !== null) {
      denominator = tf.add(tf.mul(value, factor), denominator);
    }
  }
  const w = weight ?? tf.scalar(0);
  const isZero = tf.logicalOr(tf.equal(w, 0), tf.equal(denominator, 0));
  let ratio = tf.div(tf.mul(w, quotient.coefficient), denominator);
  if (quotient.limit !== null) {
    const reached = tf.greaterEqual(ratio, quotient.limit);
    ratio = tf.where(reached, tf.scalar(1), tf.div(ratio, quotient.limit));
  }
  return tf.where(isZero, tf.scalar(quotient.whenZero), ratio);
}

/** What an empty place of a history holds: norms are ≥ 0. */
const EMPTY = -1;

/** A layer's history before its first step: norms, not their squares, which float32 could not hold. */
export function emptyHistory(tf: TensorFlow): Tensor {
  return tf.fill([HISTORY_LENGTH], EMPTY);
}

/**
 * Percentile clipping. The twin of `clipToPercentile`.
 *
 * @param history [100] norms
 * @param stepCount k, this step's count for the layer, from 1: a scalar
 * @param gradient ‖g‖, unclipped: a scalar
 */
export function clipToPercentile(
  tf: TensorFlow,
  history: Tensor,
  stepCount: Tensor,
  gradient: Tensor,
  percentile: number,
): { scale: Tensor; history: Tensor } {
  const slots = tf.tensor(
    Float32Array.from({ length: HISTORY_LENGTH }, (_, index) => index),
    [HISTORY_LENGTH],
  );
  const isNow = tf.equal(slots, tf.mod(stepCount, HISTORY_LENGTH));
  const next = tf.where(
    tf.logicalOr(isNow, tf.less(history, 0)),
    tf.mul(gradient, tf.fill([HISTORY_LENGTH], 1)),
    history,
  );
  const threshold = orderStatistic(tf, next, percentile);
  const exceeds = tf.greater(gradient, threshold);
  return { scale: tf.where(exceeds, tf.div(threshold, gradient), tf.scalar(1)), history: next };
}

/**
 * sorted[index]: the largest value that has at most `index` smaller ones. Without tf.topk, which reads short
 * arrays back to sort them on the CPU.
 */
function orderStatistic(tf: TensorFlow, values: Tensor, index: number): Tensor {
  const rows = tf.reshape(values, [values.size, 1]);
  const columns = tf.reshape(values, [1, values.size]);
  const smaller = tf.sum(tf.cast(tf.less(columns, rows), "float32"), 1);
  return tf.max(tf.where(tf.lessEqual(smaller, index), values, tf.fill([values.size], 0)));
}

/** Global clipping. The twin of `globalClipScale`. */
export function globalClipScale(tf: TensorFlow, globalNorm: Tensor, maxGradNorm: number): Tensor {
  return tf.minimum(1, tf.div(maxGradNorm, tf.add(globalNorm, EPSILON)));
}
