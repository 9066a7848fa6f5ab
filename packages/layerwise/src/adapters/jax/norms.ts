/**
 * Norms in float32 alone, which is all that WebGPU has.
 *
 * Written for what `jit` makes of it: on wasm, sums over the rows of a matrix use SIMD (10 million squares:
 * 6 ms; as one sum: 24 ms), maxima and operations on bits do not.
 */
import { lax, numpy as np } from "@jax-js/jax";

/** The longest run that is added up one element after another: so many roundings in a row at most. */
const RUN = 256;
/** Shorter runs than this, and an array is padded to full ones. */
const LEAST_RUN = 32;

/** The bits of a float32 without its sign. Ordered as the magnitudes are. */
const MAGNITUDE = 0x7fffffff;
const EXPONENT = 0x7f800000;
const MANTISSA_BITS = 23;

/** Exponents of 2^-126 and 2^126: both they and their inverses are normal numbers. */
const LEAST_EXPONENT = 1 << MANTISSA_BITS;
const MOST_EXPONENT = 253 << MANTISSA_BITS;
const INVERSE = LEAST_EXPONENT + MOST_EXPONENT;

/** A run of the largest float32 numbers does not overflow when it is added up in this unit. */
const SUM_UNIT = 2 ** -10;

/** A float32 scalar. */
export function scalar(value: number): np.Array {
  return np.array(value, { dtype: np.float32 });
}

/** An int32 scalar: a plain number would make float32 of integers. */
export function int32(value: number): np.Array {
  return np.array(value, { dtype: np.int32 });
}

/** Whether an int32 scalar is 1. Borrows it. */
export function isMade(made: np.Array): np.Array {
  return made.ref.notEqual(int32(0));
}

/**
 * The same array, computed once and kept. `jit` repeats what makes a scalar for every element that the scalar
 * is combined with, and a division there keeps the loop from SIMD; the outcome of a sum it never repeats.
 * 10 million parameters: 55 ms a step instead of 200.
 */
export function computedOnce(values: np.Array): np.Array {
  return values.reshape([...values.shape, 1]).sum(values.ndim);
}

/**
 * The sum of magnitudes of each run of an array, in a unit in which it is finite exactly if all elements are.
 *
 * @param values consumed
 */
export function runSizes(values: np.Array): np.Array {
  return np.absolute(inRuns(values)).mul(SUM_UNIT).sum(1);
}

/**
 * Whether sums are finite, as an int32 scalar, 1 or 0. In integers, because a GPU may take any NaN for a
 * number.
 *
 * @param sizes {@link runSizes}, consumed
 */
export function areFinite(sizes: np.Array): np.Array {
  const bits = np.bitwiseAnd(lax.bitcastConvertType(sizes, np.int32), int32(MAGNITUDE));
  return bits.max().less(int32(EXPONENT)).astype(np.int32);
}

/**
 * ‖x‖ as a float32 scalar. Right for all finite values whose norm is a float32: each run is multiplied by a
 * power of two that brings it near 1 before it is squared, which rounds nothing.
 *
 * @param values consumed
 * @param sizes their {@link runSizes} where they are known already, consumed
 */
export function normOf(values: np.Array, sizes?: np.Array): np.Array {
  const scales =
    sizes === undefined ? scalesOf(runSizes(values.ref)) : computedOnce(scalesOf(sizes));
  const runs = inRuns(values);
  const count = scales.size;
  const norms = np
    .sqrt(np.square(runs.mul(scales.ref.reshape([count, 1]))).sum(1))
    .mul(inverseOf(scales));
  return count === 1 ? norms.reshape([]) : normOf(norms);
}

/** A power of two for each run, about the inverse of its size. */
function scalesOf(sizes: np.Array): np.Array {
  const exponents = np.bitwiseAnd(lax.bitcastConvertType(sizes, np.int32), int32(EXPONENT));
  return inverseOf(
    lax.bitcastConvertType(
      np.clip(exponents, int32(LEAST_EXPONENT), int32(MOST_EXPONENT)),
      np.float32,
    ),
  );
}

/** 1/x of powers of two. */
function inverseOf(powers: np.Array): np.Array {
  const exponents = lax.bitcastConvertType(powers, np.int32);
  return lax.bitcastConvertType(int32(INVERSE).sub(exponents), np.float32);
}

/** A matrix with a run in each row. Consumes `values`. */
function inRuns(values: np.Array): np.Array {
  const { size } = values;
  const run = runOf(size);
  const count = Math.ceil(size / run);
  return padded(values.flatten(), count * run).reshape([count, run]);
}

/** The longest run that divides a size and is long enough; else all of a small array, or full runs. */
function runOf(size: number): number {
  if (size <= RUN) return size;
  for (let run = RUN; run >= LEAST_RUN; run -= 4) {
    if (size % run === 0) return run;
  }
  return RUN;
}

/** A flat array with zeros up to `size` elements. Consumes `values`. */
export function padded(values: np.Array, size: number): np.Array {
  return values.size === size ? values : np.pad(values, [[0, size - values.size]]);
}
