/**
 * Block-wise 8-bit quantization, written to be read: the reference that the fast kernels must match.
 *
 * Source: Dettmers et al. 2021 (arXiv 2110.02861), section 2.1; bitsandbytes' `quantize_blockwise`.
 */
import {
  checkArray,
  checkFinite,
  checkNonNegatives,
  checkObject,
  isDetached,
  refusal,
} from "../check.js";
import { BLOCK_SIZE, codebookMidpoints, createDynamicMap, ZERO_CODE } from "./codebook.js";

/** A float32 array in a quarter of its bytes: value = codebook[code] · absmax of its block. */
export interface QuantizedBlocks {
  /** One code per element. */
  codes: Uint8Array;
  /** The largest magnitude of each run of 256 elements; the last run may be shorter. */
  absmax: Float32Array;
}

const codebook = createDynamicMap();
const midpoints = codebookMidpoints(codebook);

/** Number of blocks, and so of absmax values, of an array. */
export function blockCount(length: number): number {
  return Math.ceil(length / BLOCK_SIZE);
}

/** The nearest code of a value in [−1, 1]; the lower one when it lies on a midpoint. */
export function nearestCode(value: number): number {
  let low = 0;
  let high = midpoints.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (value > midpoints[middle]!) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Quantizes one block into `codes` and returns its absmax. */
function quantizeBlock(values: Float32Array, codes: Uint8Array): number {
  let absmax = 0;
  for (const value of values) absmax = Math.max(absmax, Math.abs(value));
  for (let index = 0; index < values.length; index++) {
    const normalized = Math.fround(values[index]! / absmax);
    codes[index] = absmax === 0 ? ZERO_CODE : nearestCode(Math.min(1, Math.max(-1, normalized)));
  }
  return absmax;
}

/**
 * Quantizes into existing arrays.
 *
 * @param values the elements of whole blocks (the last may be shorter)
 * @param target receives one code per element and one absmax per block
 */
export function quantizeInto(values: Float32Array, target: QuantizedBlocks): void {
  for (let block = 0, start = 0; start < values.length; block++, start += BLOCK_SIZE) {
    const end = Math.min(start + BLOCK_SIZE, values.length);
    target.absmax[block] = quantizeBlock(
      values.subarray(start, end),
      target.codes.subarray(start, end),
    );
  }
}

/** The inverse of {@link quantizeInto}, up to the quantization error. */
export function dequantizeInto(source: QuantizedBlocks, values: Float32Array): void {
  for (let index = 0; index < values.length; index++) {
    const code = source.codes[index]!;
    const absmax = source.absmax[Math.floor(index / BLOCK_SIZE)]!;
    values[index] = codebook[code]! * absmax;
  }
}

/**
 * Quantizes an array to 8 bits in blocks of 256 elements.
 *
 * @param values finite float32 values
 * @returns one code per element and one absmax per block: 1.0157 bytes per element
 * @throws TypeError if `values` is not a Float32Array or is detached; RangeError if an element is NaN or
 *   ±Infinity
 * @example
 * const { codes, absmax } = quantizeBlockwise(Float32Array.of(0.5, -1, 0.25));
 */
export function quantizeBlockwise(values: Float32Array): QuantizedBlocks {
  checkAttached("quantizeBlockwise: values", values, Float32Array);
  checkFinite("quantizeBlockwise: values", values);
  const target = {
    codes: new Uint8Array(values.length),
    absmax: new Float32Array(blockCount(values.length)),
  };
  quantizeInto(values, target);
  return target;
}

/**
 * Restores the values that {@link quantizeBlockwise} stored.
 *
 * @param source codes and one absmax per 256 of them
 * @returns codebook[code] · absmax, rounded to float32
 * @throws TypeError for wrong types and detached arrays; RangeError if the number of absmax values does not fit,
 *   or one is negative or not finite
 */
export function dequantizeBlockwise(source: QuantizedBlocks): Float32Array {
  const { codes } = checkObject("dequantizeBlockwise: blocks", source);
  checkAttached("dequantizeBlockwise: codes", codes, Uint8Array);
  const blocks = checkedBlocks("dequantizeBlockwise", source, codes.length);
  const values = new Float32Array(codes.length);
  dequantizeInto(blocks, values);
  return values;
}

/** A detached array has length 0, so without this check there would be nothing to do. */
function checkAttached<A extends Float32Array | Uint8Array>(
  what: string,
  value: unknown,
  type: new (length: number) => A,
): asserts value is A {
  if (!(value instanceof type) || isDetached(value)) {
    throw new TypeError(refusal(what, value, `a ${type.name}`));
  }
}

/**
 * Blocks from outside, checked.
 *
 * @param what what they belong to, for errors
 * @throws TypeError or RangeError for other types or lengths, and an absmax that is negative or not finite
 */
export function checkedBlocks(
  what: string,
  { codes, absmax }: { readonly codes: unknown; readonly absmax: unknown },
  size: number,
): QuantizedBlocks {
  const checked = checkArray(`${what}.absmax`, absmax, Float32Array, blockCount(size));
  return {
    codes: checkArray(`${what}.codes`, codes, Uint8Array, size),
    absmax: checkNonNegatives(`${what}.absmax`, checked),
  };
}
