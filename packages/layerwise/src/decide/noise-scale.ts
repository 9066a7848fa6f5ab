/**
 * The gradient noise scale: how large a batch is worth it.
 *
 * Source: McCandlish, Kaplan, Amodei et al. 2018, "An Empirical Model of Large-Batch Training" (arXiv 1812.06162),
 * appendix A.1.
 */
import { checkFraction, checkInteger, checkNonNegative, checkObject, refusal } from "../check.js";

/** A part of a batch, a micro-batch for example. */
export interface BatchPart {
  /** Samples in it, ≥ 1. */
  samples: number;
  /** |g|²: the squared norm of the *mean* gradient over its samples. */
  sumSquares: number;
}

/** Estimates from one batch, or smoothed over several. */
export interface GradientNoise {
  /** |G|²: the squared norm of the true gradient. An estimate from little data can be below 0. */
  gradSquared: number;
  /** tr(Σ): the variance of one sample's gradient, summed over all parameters. */
  trace: number;
  /**
   * B = tr(Σ)/|G|², in samples. null where the estimate of |G|² is not above 0: the batch is too small to tell the
   * gradient from its noise.
   */
  scale: number | null;
}

/** Smoothed estimates. Plain numbers, so that JSON keeps them. */
export interface SmoothedNoise extends GradientNoise {
  /** How much of the average's weight has been given out: 1 − decay^batches. */
  weight: number;
}

/**
 * Estimates the gradient noise scale from the parts of one batch. Both estimates are unbiased, for parts of
 * different sizes too.
 *
 * A batch well below the scale saves steps nearly in proportion when it grows; a batch well above saves few. One
 * batch gives rough numbers: average several with {@link smoothNoise}.
 *
 * @param parts the parts that the batch is made of, two or more
 * @param sumSquares |g|² of the whole batch: the squared norm of the mean gradient over all its samples
 * @throws TypeError or RangeError for fewer than two parts and for numbers that are negative or not finite
 * @example
 * const noise = gradientNoise(
 *   [
 *     { samples: 256, sumSquares: 1.5 },
 *     { samples: 256, sumSquares: 1.7 },
 *   ],
 *   1.2,
 * );
 * console.log(noise.scale); // 256: tr(Σ) = 204.8, |G|² = 0.8
 */
export function gradientNoise(parts: readonly BatchPart[], sumSquares: number): GradientNoise {
  if (!Array.isArray(parts)) throw new TypeError(refusal("parts", parts, "an array"));
  if (parts.length < 2) {
    throw new RangeError(refusal("parts: length", parts.length, "2 or more"));
  }
  checkNonNegative("sumSquares", sumSquares);
  let samples = 0;
  let weighted = 0;
  parts.forEach((part: unknown, index) => {
    const { samples: own, sumSquares: square } = checkObject(`parts[${String(index)}]`, part);
    const count = checkInteger(`parts[${String(index)}]: samples`, own, 1);
    samples += count;
    weighted += count * checkNonNegative(`parts[${String(index)}]: sumSquares`, square);
  });
  // E|g_i|² = |G|² + tr(Σ)/n_i, so E Σ n_i|g_i|²/n = |G|² + k·tr(Σ)/n; and E|g|² = |G|² + tr(Σ)/n.
  const trace = (weighted - samples * sumSquares) / (parts.length - 1);
  return withScale(sumSquares - trace / samples, trace);
}

/**
 * Averages estimates over batches, with exponentially falling weights. |G|² and tr(Σ) are averaged apart, as the
 * paper does, because their quotient is biased.
 *
 * @param before what the last call returned; null for the first batch
 * @param noise the estimates of one more batch
 * @param decay weight of what came before, in [0, 1). Default 0.9: about ten batches count
 * @throws TypeError or RangeError for another decay
 * @example
 * let smoothed = null;
 * for (const noise of noiseOfEachBatch) smoothed = smoothNoise(smoothed, noise);
 */
export function smoothNoise(
  before: SmoothedNoise | null,
  noise: Pick<GradientNoise, "gradSquared" | "trace">,
  decay = 0.9,
): SmoothedNoise {
  checkFraction("decay", decay);
  const old = before === null ? 0 : decay * before.weight;
  const weight = old + (1 - decay);
  const average = (last: number | undefined, next: number): number =>
    ((last ?? 0) * old + next * (1 - decay)) / weight;
  const smoothed = withScale(
    average(before?.gradSquared, noise.gradSquared),
    average(before?.trace, noise.trace),
  );
  return { ...smoothed, weight };
}

function withScale(gradSquared: number, trace: number): GradientNoise {
  return { gradSquared, trace, scale: gradSquared > 0 ? trace / gradSquared : null };
}
