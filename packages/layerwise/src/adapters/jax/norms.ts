/**
 * Norms in float32 alone, which is all that WebGPU has.
 *
 * Written for what `jit` makes of it: on wasm, sums over the rows of a matrix use SIMD and products cost
 * nothing beside memory (one square an element: 0.09 ns; as one sum: 0.5 ns), where magnitudes and maxima, which
 * WebAssembly wants right for NaN, take 0.22 ns. So squares are all that is added up here, also to see how large
 * numbers are and whether they are finite.
 */
import { lax, numpy as np } from "@jax-js/jax";
import { isDecidedTogether, isOnProcessor, isSmall } from "./compiled.js";
import { int32, scalar } from "./scalars.js";
import { itself, runSums, totalOf } from "./sums.js";
import { joined } from "./vectors.js";

/** Of a float32. */
const MANTISSA_BITS = 23;
const EXPONENT_BITS = 8;

/** In this unit no square of a finite float32 overflows, nor do billions of them; */
const SMALL_UNIT = 2 ** -90;
/** and in this none vanishes whose sum, without it, is below the limit. Above, what has vanished does not count. */
const LARGE_UNIT = 2 ** 90;
const SCALES = [SMALL_UNIT, 1, LARGE_UNIT];
const LEAST_SUM = 2 ** -60;

/**
 * The exponent of a scale, biased: ¾ of the sum's below this. A sum of 0, whose numbers may still be 2^-149 … 2^-63,
 * has the scale 2^95; 1 has 1; and infinity, whose numbers may be 2^49 … 2^128, has 2^-96.
 */
const SCALE_OF_ZERO = 222;
/** The sum of the bits of a power of two and its inverse. */
const INVERSE = 254 << MANTISSA_BITS;

/** Sums of squares that neither overflowed nor vanished, one for each layer. */
export interface ScaledSquares {
  /** Σ (scale·x)²: finite exactly if all x are. */
  readonly sum: np.Array;
  /** Powers of two. */
  readonly scale: np.Array;
}

/**
 * The squares of arrays, added up in a scale that keeps them in the middle of float32's range. A scale rounds nothing.
 *
 * @param layers the arrays of each layer: as many for each, of one size within a layer, and all layers small
 *   ({@link isSmall}) or none. Consumed
 * @returns for the first array of each layer, for the second and so on: vectors [layers], or scalars of one layer
 */
export function scaledSquares(layers: readonly (readonly np.Array[])[]): ScaledSquares[] {
  const isTogether = !isOnProcessor() || isSmall(layers[0]![0]!);
  return isTogether ? squaresInThreeScales(layers) : squaresInTurn(layers);
}

/** Twice: as they are, which tells the scale, and scaled. On wasm this is 2.9 times faster than in three scales. */
function squaresInTurn(layers: readonly (readonly np.Array[])[]): ScaledSquares[] {
  const squares = layers.map((arrays) => arrays.map(squaresTwice));
  return squares[0]!.map((_, index) => ({
    sum: joined(squares.map((each) => each[index]!.sum)),
    scale: joined(squares.map((each) => each[index]!.scale)),
  }));
}

function squaresTwice(values: np.Array): ScaledSquares {
  const flat = values.flatten();
  const scale = scaleFor(totalOf([flat.ref], ([part]) => np.square(part!)));
  const sum = totalOf([flat], ([part]) => np.square(part!.mul(scale.ref)));
  return { sum, scale };
}

/** In three scales at once, of which the right one is taken: each kernel costs its start. */
function squaresInThreeScales(layers: readonly (readonly np.Array[])[]): ScaledSquares[] {
  const rows = layers.map((each) => {
    const flat = each.map((values) => values.flatten());
    return isSmall(flat[0]!) ? sumsTogether(flat) : sumsOneByOne(flat);
  });
  const isOne = rows.length === 1;
  const sums = isOne ? rows[0]! : joined(rows.map((row) => row.reshape([1, ...row.shape])));
  const squares = layers[0]!.map((_, index) =>
    inRightScale((scale) => sums.ref.slice(...(isOne ? [] : [[] as []]), scale, index)),
  );
  sums.dispose();
  return squares;
}

/** [3, arrays]: the sums of each array in each scale, in one kernel, which writes nothing else to memory. */
function sumsTogether(flat: readonly np.Array[]): np.Array {
  return totalOf(flat, (parts) => {
    const values = oneOf(parts);
    return np.square(values.mul(np.array(SCALES).reshape([3, ...values.shape.map(() => 1)])));
  });
}

/** The same by a kernel for each: where there is much to read, choosing costs more than what it saves. */
function sumsOneByOne(flat: readonly np.Array[]): np.Array {
  const runs = flat.map((values) => runSums([values], ([part]) => squaresInWrittenScales(part!)));
  return totalOf([np.stack(runs, 1)], itself);
}

/**
 * The squares along a new first axis, of values that are in memory. `jit` sees which scale it is at by what is 0, so
 * that the scales are part of the kernel, not read; without neg it would make c²·x² of (c·x)², and c² is 0.
 */
function squaresInWrittenScales(values: np.Array): np.Array {
  const first = values.reshape([1, ...values.shape]);
  const none = values.shape.map((): [number, number] => [0, 0]);
  const scaled = SCALES.map((scale, index) =>
    np.pad(first.ref, [[index, 2 - index], ...none]).mul(scale),
  );
  first.dispose();
  return np.square(scaled.reduce((sum, each) => sum.add(each)).neg());
}

/** Arrays one below the other along a new first axis: chosen, not copied. Consumes them. */
function oneOf(arrays: readonly np.Array[]): np.Array {
  const { shape } = arrays[0]!;
  if (arrays.length === 1) return arrays[0]!.reshape([1, ...shape]);
  const ones = shape.map(() => 1);
  const which = np.array(Int32Array.from(arrays.keys())).reshape([arrays.length, ...ones]);
  const chosen = arrays.reduce((others, values, index) =>
    np.where(which.ref.equal(int32(index)), values, others),
  );
  which.dispose();
  return chosen;
}

/** @param sumIn the sum in one of the {@link SCALES}, made anew by each call */
function inRightScale(sumIn: (scale: number) => np.Array): ScaledSquares {
  const middle = sumIn(1);
  const isSmall = middle.ref.less(LEAST_SUM);
  const isLarge = np.logicalNot(middle.ref.less(Infinity));
  const pick = (large: np.Array | number, small: np.Array | number, other: np.Array | number) =>
    np.where(isLarge.ref, large, np.where(isSmall.ref, small, other));
  const sum = pick(sumIn(0), sumIn(2), middle);
  const scale = pick(SMALL_UNIT, LARGE_UNIT, scalar(1));
  for (const each of [isSmall, isLarge]) each.dispose();
  return { sum, scale };
}

/**
 * A sum that is finite exactly if all elements are, where no norm is asked for.
 *
 * @param values consumed
 */
export function finiteSum(values: np.Array): np.Array {
  // Without the 1, jax-js would make c²·x² of (c·x)², and c² is 0.
  return totalOf([values.flatten()], ([part]) => np.square(part!.mul(SMALL_UNIT).add(1)));
}

/** ‖x‖, right for all finite values whose norm is a float32. Consumes the sum. */
export function rootOf({ sum, scale }: ScaledSquares): np.Array {
  return np.sqrt(sum).mul(inverseOf(scale));
}

/** ‖x‖ of arrays of many layers, as {@link scaledSquares} takes them: vectors [layers], or scalars of one layer. */
export function normsOf(layers: readonly (readonly np.Array[])[]): np.Array[] {
  return scaledSquares(layers).map(rootOf);
}

/** ‖x‖ of one array, a scalar. Consumes `values`. */
export function normOf(values: np.Array): np.Array {
  return normsOf([[values]])[0]!.reshape([]);
}

/**
 * 1 if all elements of scalars and vectors are finite, 0 if one is not: an int32 scalar.
 *
 * @param arrays consumed
 */
export function areAllFinite(arrays: readonly np.Array[]): np.Array {
  const finite = arrays.map(areFinite);
  const scalars = finite.filter(({ size }) => size === 1);
  const vectors = finite.filter(({ size }) => size > 1);
  if (scalars.length > 0) vectors.push(...(isDecidedTogether() ? [joined(scalars)] : scalars));
  return vectors
    .map((each) => (each.size === 1 ? each.reshape([]) : each.min()))
    .reduce((all, each) => all.mul(each));
}

/**
 * Whether numbers are finite, as int32, 1 or 0. In integers, because a GPU may take any NaN for a number, and without
 * a comparison, because `jit` fuses none with the sum before it.
 *
 * @param values consumed
 */
export function areFinite(values: np.Array): np.Array {
  const isMost = np.rightShift(exponentOf(values).add(int32(1)), int32(EXPONENT_BITS));
  return int32(1).sub(isMost);
}

/** A power of two that brings squares with this sum near 1. Consumes the sum. */
function scaleFor(sum: np.Array): np.Array {
  const below = np.rightShift(exponentOf(sum).mul(int32(3)), int32(2));
  const scale = int32(SCALE_OF_ZERO).sub(below);
  return lax.bitcastConvertType(scale.mul(int32(1 << MANTISSA_BITS)), np.float32);
}

/** Biased, 0 … 255. */
function exponentOf(values: np.Array): np.Array {
  const bits = np.rightShift(lax.bitcastConvertType(values, np.int32), int32(MANTISSA_BITS));
  return np.bitwiseAnd(bits, int32(2 ** EXPONENT_BITS - 1));
}

/** 1/x of powers of two. */
function inverseOf(powers: np.Array): np.Array {
  const exponents = lax.bitcastConvertType(powers, np.int32);
  return lax.bitcastConvertType(int32(INVERSE).sub(exponents), np.float32);
}
