/** Norms in float32 alone, which is all that WebGPU has. */
import { lax, numpy as np } from "@jax-js/jax";

/** Elements of a partial sum: 256 roundings at most in a row, whatever the size of the layer. */
const RUN = 256;

/** The bits of a float32 without its sign. Ordered as the magnitudes are. */
const MAGNITUDE = 0x7fffffff;
const EXPONENT = 0x7f800000;
const MANTISSA_BITS = 23;

/** A float32 scalar. */
export function scalar(value: number): np.Array {
  return np.array(value, { dtype: np.float32 });
}

/** An int32 scalar: a plain number would make float32 of integers. */
export function int32(value: number): np.Array {
  return np.array(value, { dtype: np.int32 });
}

/**
 * The bits of the largest magnitude of an array, as an int32 scalar; NaN and infinities have the largest.
 * In integers, because a GPU may take any NaN for a number. Consumes `values`.
 */
export function largestBits(values: np.Array): np.Array {
  const bits = lax.bitcastConvertType(values.flatten(), np.int32);
  return np.bitwiseAnd(bits, int32(MAGNITUDE)).max();
}

/** Whether {@link largestBits} are those of a finite number. Consumes `bits`. */
export function areFinite(bits: np.Array): np.Array {
  return bits.less(int32(EXPONENT));
}

/**
 * ‖x‖ as a float32 scalar. Right for all finite values whose norm is a float32: elements are divided by the
 * power of two below the largest of them before they are squared, which rounds nothing.
 *
 * @param values consumed
 * @param bits their {@link largestBits}, consumed
 */
export function normOf(values: np.Array, bits = largestBits(values.ref)): np.Array {
  const least = 1 << MANTISSA_BITS;
  const most = 253 << MANTISSA_BITS;
  const exponent = np.clip(np.bitwiseAnd(bits, int32(EXPONENT)), int32(least), int32(most));
  const scale = lax.bitcastConvertType(exponent.ref, np.float32);
  const inverse = lax.bitcastConvertType(int32(least + most).sub(exponent), np.float32);
  return np.sqrt(sumInRuns(np.square(values.flatten().mul(inverse)))).mul(scale);
}

/** Partial sums of partial sums: a plain float32 sum over a million elements has lost three digits. */
function sumInRuns(values: np.Array): np.Array {
  const { size } = values;
  if (size <= RUN) return values.sum();
  const runs = Math.ceil(size / RUN);
  return sumInRuns(
    padded(values, runs * RUN)
      .reshape([runs, RUN])
      .sum(1),
  );
}

/** A flat array with zeros up to `size` elements. Consumes `values`. */
export function padded(values: np.Array, size: number): np.Array {
  return values.size === size ? values : np.pad(values, [[0, size - values.size]]);
}
