/**
 * 8-bit momentum in operations of jax-js, which has no type of one byte: four codes to a uint32, the first
 * in the lowest byte, so that on little-endian machines the bytes are the codes in their order.
 *
 * The twin of src/state/blockwise.ts. Source: Dettmers et al. 2021 (arXiv 2110.02861), section 2.1.
 */
import { lax, numpy as np } from "@jax-js/jax";
import { blockCount } from "../../state/blockwise.js";
import { codesOfKey, KEY_SHIFT, LARGEST_REST, SIGN_KEY } from "../../state/code-keys.js";
import { BLOCK_SIZE, createDynamicMap, ZERO_CODE } from "../../state/codebook.js";
import { computedOnce, isOnProcessor } from "./compiled.js";
import { int32 } from "./scalars.js";

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
/** The words of a block. */
export const WORDS = BLOCK_SIZE / CODES_PER_WORD;
const BYTE_SHIFTS = [0, 8, 16, 24];
/** Products, because a sum of left shifts is WGSL that does not compile, as jax-js 0.1.25 writes it. */
const BYTE_FACTORS = BYTE_SHIFTS.map((shift) => 2 ** shift);

/** Rows are folded by so many at a time. */
const FOLD = 8;

const codebook = createDynamicMap();

const KEYS = 2 * SIGN_KEY;

/**
 * By key: the lower of its codes, and below it so much that low bits which are added reach the upper one where that
 * begins. One look-up is one kernel.
 */
const entries = Int32Array.from({ length: KEYS }, (_, key) => {
  const { code, lastRest } = codesOfKey(key);
  if (lastRest === LARGEST_REST) return code << KEY_SHIFT;
  return key < SIGN_KEY
    ? (code << KEY_SHIFT) + LARGEST_REST - lastRest
    : ((code - 1) << KEY_SHIFT) + lastRest + 1;
});

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

/** A flat array with zeros up to `size` elements. Consumes `values`. */
function padded(values: np.Array, size: number): np.Array {
  return values.size === size ? values : np.pad(values, [[0, size - values.size]]);
}

/** An array in blocks of 256, the last filled up with zeros. Consumes `values`. */
export function inBlocks(values: np.Array): np.Array {
  const blocks = blockCount(values.size);
  return padded(values.flatten(), blocks * BLOCK_SIZE).reshape([blocks, BLOCK_SIZE]);
}

/** The nearest code of each element; the lower one on a midpoint. Consumes `values`. */
export function quantized(values: np.Array): PackedBlocks {
  const absmax = largestMagnitudes(values.ref);
  const blocks = absmax.size;
  const inverse = computedOnce(np.where(absmax.ref.equal(0), 1, np.reciprocal(absmax.ref)));
  const scaled = inBlocks(values).mul(inverse.reshape([blocks, 1]));
  // From scaled twice, so that this is what jit writes to memory: a product has SIMD, bits have not.
  const key = np.bitwiseAnd(np.rightShift(bitsOf(scaled.ref), int32(KEY_SHIFT)), int32(KEYS - 1));
  const entry = np.take(np.array(entries.slice()), key);
  const codes = np.rightShift(entry.add(ascendingLowBits(bitsOf(scaled))), int32(KEY_SHIFT));
  const placed = codes
    .astype(np.uint32)
    .reshape([blocks, WORDS, CODES_PER_WORD])
    .mul(uint32(BYTE_FACTORS));
  return { codes: placed.sum(2), absmax };
}

function bitsOf(values: np.Array): np.Array {
  return lax.bitcastConvertType(values, np.int32);
}

/** The bits that the key leaves out, inverted for negative numbers: they grow as the numbers do. Consumes `bits`. */
function ascendingLowBits(bits: np.Array): np.Array {
  const isNegative = np.bitwiseAnd(np.rightShift(bits.ref, int32(31)), int32(1));
  return np.bitwiseAnd(
    np.bitwiseXor(bits, isNegative.mul(int32(LARGEST_REST))),
    int32(LARGEST_REST),
  );
}

/**
 * The largest magnitude of each block. Consumes `values`.
 *
 * On wasm maxima along a row are not made with SIMD, so that rows are folded first: 1 ns per element instead of
 * 5.5.
 */
function largestMagnitudes(values: np.Array): np.Array {
  const magnitudes = np.absolute(inBlocks(values));
  if (!isOnProcessor()) return magnitudes.max(1);
  return folded(folded(magnitudes)).max(1);
}

/** The maxima of each row's eighths. Consumes `rows`. */
function folded(rows: np.Array): np.Array {
  const length = rows.shape[1]! / FOLD;
  const parts = Array.from({ length: FOLD }, (_, index) =>
    rows.ref.slice([], [index * length, (index + 1) * length]),
  );
  rows.dispose();
  return computedOnce(parts.reduce(np.maximum));
}
