/**
 * 8-bit momentum in operations of jax-js, which has no type of one byte: four codes to a uint32, the first
 * in the lowest byte, so that on little-endian machines the bytes are the codes in their order.
 *
 * The twin of src/state/blockwise.ts. Source: Dettmers et al. 2021 (arXiv 2110.02861), section 2.1.
 */
import { lax, numpy as np } from "@jax-js/jax";
import { blockCount } from "../../state/blockwise.js";
import {
  BLOCK_SIZE,
  codebookMidpoints,
  createDynamicMap,
  ZERO_CODE,
} from "../../state/codebook.js";
import { int32, padded } from "./norms.js";

/** The momentum of a layer with 8 bits. The last block is filled up with zeros. */
// A type, not an interface: only types are trees of arrays to TypeScript.
// eslint-disable-next-line @typescript-eslint/consistent-type-definitions
export type PackedBlocks = {
  /** uint32 [blocks, 64]: four codes in each. */
  codes: np.Array;
  /** float32 [blocks]. */
  absmax: np.Array;
};

const CODES_PER_WORD = 4;
const WORDS = BLOCK_SIZE / CODES_PER_WORD;
const BYTE_SHIFTS = [0, 8, 16, 24];
/** Products, because a sum of left shifts is WGSL that does not compile, as jax-js 0.1.25 writes it. */
const BYTE_FACTORS = BYTE_SHIFTS.map((shift) => 2 ** shift);

const codebook = createDynamicMap();
const midpoints = codebookMidpoints(codebook);
const LAST_MIDPOINT = midpoints.length - 1;

/**
 * A float32 is looked up by exponent and top 6 bits of its mantissa: between two such keys lies one midpoint
 * at most. Below 2^-21, where there is one midpoint on either side of 0, everything has the first key.
 */
const KEY_SHIFT = 17;
const FIRST_KEY = (127 - 21) << 6;
const KEYS = (127 << 6) - FIRST_KEY + 1;

/** By key, then by key of the negative numbers: the code of the least number that has it. */
const firstCodes = leastCodes();

function leastCodes(): Int32Array<ArrayBuffer> {
  const value = new Float32Array(1);
  const bits = new Uint32Array(value.buffer);
  const codes = new Int32Array(2 * KEYS);
  for (let key = 0; key < KEYS; key++) {
    bits[0] = key === 0 ? 0 : (FIRST_KEY + key) << KEY_SHIFT;
    codes[key] = codeBelow(value[0]!);
    bits[0] = ((FIRST_KEY + key + 1) << KEY_SHIFT) - 1;
    codes[KEYS + key] = codeBelow(-value[0]!);
  }
  return codes;
}

/** The number of midpoints below a value, but never the last code: one comparison is still to come. */
function codeBelow(value: number): number {
  return midpoints.reduce(
    (code, midpoint, index) => (value > midpoint && index < LAST_MIDPOINT ? index + 1 : code),
    0,
  );
}

function uint32(values: readonly number[]): np.Array {
  return np.array(Uint32Array.from(values));
}

/** Zeros, for a layer that has made no step. */
export function zeroBlocks(size: number): PackedBlocks {
  const blocks = blockCount(size);
  const word = ZERO_CODE * 0x01010101;
  return {
    codes: np.array(new Uint32Array(blocks * WORDS).fill(word)).reshape([blocks, WORDS]),
    absmax: np.zeros([blocks]),
  };
}

/**
 * codebook[code] · absmax, in the shape of the layer. Consumes the blocks.
 *
 * @param shape of the layer
 */
export function dequantized({ codes, absmax }: PackedBlocks, shape: readonly number[]): np.Array {
  const blocks = absmax.size;
  const size = shape.reduce((product, length) => product * length, 1);
  const bytes = np.rightShift(codes.reshape([blocks, WORDS, 1]), uint32(BYTE_SHIFTS));
  const indices = np.bitwiseAnd(bytes, uint32([255])).reshape([blocks, BLOCK_SIZE]);
  const values = np
    .take(np.array(codebook.slice()), indices.astype(np.int32))
    .mul(absmax.reshape([blocks, 1]));
  return values
    .flatten()
    .slice([0, size])
    .reshape([...shape]);
}

/** An array in blocks of 256, the last filled up with zeros. Consumes `values`. */
export function inBlocks(values: np.Array): np.Array {
  const blocks = blockCount(values.size);
  return padded(values.flatten(), blocks * BLOCK_SIZE).reshape([blocks, BLOCK_SIZE]);
}

/** The nearest code of each element; the lower one on a midpoint. Consumes `values`. */
export function quantized(values: np.Array): PackedBlocks {
  const blocked = inBlocks(values);
  const blocks = blocked.shape[0]!;
  const absmax = np.absolute(blocked.ref).max(1, { keepdims: true });
  const divisor = np.where(absmax.ref.equal(0), 1, absmax.ref);
  const codes = nearestCodes(np.clip(blocked.div(divisor), -1, 1));
  const placed = codes
    .astype(np.uint32)
    .reshape([blocks, WORDS, CODES_PER_WORD])
    .mul(uint32(BYTE_FACTORS));
  return { codes: placed.sum(2), absmax: absmax.reshape([blocks]) };
}

/** Codes as int32, of values in [−1, 1]. */
function nearestCodes(values: np.Array): np.Array {
  const magnitude = np.bitwiseAnd(lax.bitcastConvertType(values.ref, np.int32), int32(0x7fffffff));
  const key = np.clip(
    np.rightShift(magnitude, int32(KEY_SHIFT)).sub(int32(FIRST_KEY)),
    int32(0),
    int32(KEYS - 1),
  );
  const isNegative = values.ref.less(0).astype(np.int32);
  const signedKey = key.add(isNegative.mul(int32(KEYS)));
  const codes = np.take(np.array(firstCodes.slice()), signedKey);
  const nextMidpoint = np.take(np.array(midpoints.slice()), codes.ref);
  return codes.add(values.greater(nextMidpoint).astype(np.int32));
}
