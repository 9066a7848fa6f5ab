/**
 * The signed dynamic map: 256 float32 values between −0.993 and 1 that stand for one byte each.
 *
 * Seven decades with 1, 2, 4 … 64 values (the midpoints of equal parts of [0.1, 1], times a power
 * of ten), both signs, and 0 and 1. Small values keep their relative precision over seven orders of
 * magnitude, large ones get two digits.
 *
 * Source: Dettmers 2015 (arXiv 1511.04561), section 3; Dettmers et al. 2021 (arXiv 2110.02861),
 * section 2.2; the values are those of bitsandbytes' `create_dynamic_map`, to the bit.
 */

/** Number of elements that share one absmax. */
export const BLOCK_SIZE = 256;

/** The code of the value 0. */
export const ZERO_CODE = 127;

const DECADES = 7;
const fround = Math.fround;

/**
 * Point `index` of linspace(0.1, 1, parts + 1) as PyTorch computes it: from the nearer end, with one
 * rounding (a fused multiply-add). Rounding twice would change 42 of the 256 values by one bit.
 */
function linspacePoint(index: number, parts: number): number {
  const start = fround(0.1);
  const stride = fround(fround(1 - start) / parts);
  return index < (parts + 1) >> 1
    ? fround(start + stride * index)
    : fround(1 - stride * (parts - index));
}

/**
 * Makes the codebook of the 8-bit momentum.
 *
 * @returns 256 float32 values in ascending order; 0 has code 127 and 1 has code 255.
 */
export function createDynamicMap(): Float32Array {
  const values = [0, 1];
  for (let decade = 0; decade < DECADES; decade++) {
    const parts = 2 ** decade;
    const scale = fround(10 ** (decade - DECADES + 1));
    for (let part = 0; part < parts; part++) {
      const middle = fround(
        fround(linspacePoint(part, parts) + linspacePoint(part + 1, parts)) / 2,
      );
      const value = fround(scale * middle);
      values.push(value, -value);
    }
  }
  return Float32Array.from(values).sort();
}

/**
 * The float32 midpoints between neighbors of a codebook: a value above midpoint i belongs to a code
 * above i, a value at or below it to a code up to i.
 *
 * @param codebook ascending float32 values
 * @returns one value fewer than the codebook has
 */
export function codebookMidpoints(codebook: Float32Array): Float32Array {
  return Float32Array.from({ length: codebook.length - 1 }, (_, index) => {
    const low = codebook[index] ?? 0;
    const high = codebook[index + 1] ?? 0;
    return fround(fround(low + high) / 2);
  });
}
