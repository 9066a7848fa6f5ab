/**
 * Percentile clipping: a layer's gradient is limited to a percentile of its own recent norms.
 *
 * Source: bitsandbytes, `percentile_clipping` (functional.py); the idea is AutoClip's (Seetharaman et
 * al. 2020, arXiv 2007.14469).
 */

/** Squared gradient norms that a layer remembers. */
export const HISTORY_LENGTH = 100;

/** Percentile 100 is off. */
export const PERCENTILE_OFF = 100;

export interface PercentileClip {
  /** c: threshold / ‖g‖ where ‖g‖ exceeds the threshold, else 1. */
  readonly scale: number;
  /** The layer's history with this step's squared norm in it, to be kept if the step is made. */
  readonly history: Float64Array;
}

/**
 * @param history the last 100 squared norms, or null on the layer's first clipped step
 * @param stepCount k, this step's count for the layer, from 1
 * @param squaredNorm ‖g‖² of this step, unclipped
 * @param percentile 1 … 99: the index into the sorted history, counted from 0
 */
export function clipToPercentile(
  history: Float64Array | null,
  stepCount: number,
  squaredNorm: number,
  percentile: number,
): PercentileClip {
  const next = history?.slice() ?? new Float64Array(HISTORY_LENGTH).fill(squaredNorm);
  next[stepCount % HISTORY_LENGTH] = squaredNorm;
  const squaredThreshold = next.slice().sort()[percentile] ?? squaredNorm;
  const norm = Math.sqrt(squaredNorm);
  const threshold = Math.sqrt(squaredThreshold);
  return { scale: norm > threshold ? threshold / norm : 1, history: next };
}
