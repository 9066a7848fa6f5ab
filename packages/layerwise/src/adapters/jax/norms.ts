/**
 * Norms in float32 alone, which is all that WebGPU has.
 *
 * Written for what `jit` makes of it: on wasm, sums over the rows of a matrix use SIMD and products cost
 * nothing beside memory (one square an element: 0.09 ns; as one sum: 0.5 ns), where magnitudes and maxima, which
 * WebAssembly wants right for NaN, take 0.22 ns. So squares are all that is added up here, also to see how large
 * numbers are and whether they are finite.
 */
import { defaultDevice, lax, numpy as np } from "@jax-js/jax";

/** As many elements, at most, are added up one after another: so many roundings in a row. */
const AT_ONCE = 2048;
/** The length of the runs by which longer arrays are added up. */
const RUN = 128;
/** Shorter runs than this, and an array has a rest after runs of full length. */
const LEAST_RUN = 32;

/** Of a float32. */
const MANTISSA_BITS = 23;
const EXPONENT_BITS = 8;

/** In this unit no square of a finite float32 overflows, nor do billions of them; */
const SMALL_UNIT = 2 ** -90;
/** and in this none vanishes whose sum, without it, is below the limit. Above, what has vanished does not count. */
const LARGE_UNIT = 2 ** 90;
const LEAST_SUM = 2 ** -60;

/**
 * The exponent of a scale, biased: ¾ of the sum's below this. A sum of 0, whose numbers may still be 2^-149 … 2^-63,
 * has the scale 2^95; 1 has 1; and infinity, whose numbers may be 2^49 … 2^128, has 2^-96.
 */
const SCALE_OF_ZERO = 222;
/** The sum of the bits of a power of two and its inverse. */
const INVERSE = 254 << MANTISSA_BITS;

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
 * Whether to write for `wasm` or for GPUs, in which other operations are slow. Only speed depends on it: arrays may
 * be elsewhere than on the default device.
 */
export function isOnProcessor(): boolean {
  return ["wasm", "cpu"].includes(defaultDevice());
}

/** A sum of squares that neither overflowed nor vanished. */
export interface ScaledSquares {
  /** Σ (scale·x)²: finite exactly if all x are. */
  readonly sum: np.Array;
  /** A power of two. */
  readonly scale: np.Array;
}

/**
 * The squares of arrays, added up in a scale that keeps them in the middle of float32's range. A scale rounds
 * nothing.
 *
 * @param arrays consumed
 */
export function scaledSquares(arrays: readonly np.Array[]): ScaledSquares[] {
  return isOnProcessor() ? arrays.map(squaresInTurn) : squaresInThreeScales(arrays);
}

/** Twice: as they are, which tells the scale, and scaled. On wasm this is 2.9 times faster than in three scales. */
function squaresInTurn(values: np.Array): ScaledSquares {
  const flat = values.flatten();
  const scale = scaleFor(totalOf(flat.ref, np.square));
  const sum = totalOf(flat, (part) => np.square(part.mul(scale.ref)));
  return { sum, scale };
}

/**
 * In three scales at once, of which the right one is taken. For GPUs, where each kernel costs its start: of a step
 * on 262,144 parameters this takes a tenth, measured in SwiftShader.
 */
function squaresInThreeScales(arrays: readonly np.Array[]): ScaledSquares[] {
  const totals = totalsOf(arrays, (part) => {
    const scales = np.array([SMALL_UNIT, 1, LARGE_UNIT]).reshape([3, ...part.shape.map(() => 1)]);
    return np.square(part.mul(scales));
  });
  return totals.map((sums) => {
    const middle = sums.ref.slice(1);
    const isSmall = middle.ref.less(LEAST_SUM);
    const isLarge = np.logicalNot(middle.ref.less(Infinity));
    const pick = (large: np.Array | number, small: np.Array | number, other: np.Array | number) =>
      np.where(isLarge.ref, large, np.where(isSmall.ref, small, other));
    const sum = pick(sums.ref.slice(0), sums.ref.slice(2), middle);
    const scale = pick(SMALL_UNIT, LARGE_UNIT, scalar(1));
    for (const each of [sums, isSmall, isLarge]) each.dispose();
    return { sum, scale };
  });
}

/**
 * A sum that is finite exactly if all elements are, where no norm is asked for.
 *
 * @param values consumed
 */
export function finiteSum(values: np.Array): np.Array {
  // Without the 1, jax-js would make c²·x² of (c·x)², and c² is 0.
  return totalOf(values.flatten(), (part) => np.square(part.mul(SMALL_UNIT).add(1)));
}

/** ‖x‖ as a float32 scalar, right for all finite values whose norm is a float32. Consumes the sum. */
export function rootOf({ sum, scale }: ScaledSquares): np.Array {
  return np.sqrt(sum).mul(inverseOf(scale));
}

/** ‖x‖ of each array. Consumes them. */
export function normsOf(arrays: readonly np.Array[]): np.Array[] {
  return scaledSquares(arrays).map(rootOf);
}

/** ‖x‖. Consumes `values`. */
export function normOf(values: np.Array): np.Array {
  return normsOf([values])[0]!;
}

/**
 * Whether a number is finite, as int32, 1 or 0. In integers, because a GPU may take any NaN for a number, and without
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

/** What is added up of each element. It is called for parts, so that `jit` fuses it with their sums. */
type Term = (part: np.Array) => np.Array;

const itself: Term = (part) => part;

/** Sums over the last axis. Consumes `values`. */
function totalOf(values: np.Array, term: Term): np.Array {
  if (lengthOf(values) <= AT_ONCE) return term(values).sum(-1);
  return totalOf(runSums(values, term), itself);
}

/** The same of several arrays, together from the sums of runs on where they are of one size. Consumes them. */
function totalsOf(arrays: readonly np.Array[], term: Term): np.Array[] {
  const { size } = arrays[0]!;
  const flat = arrays.map((values) => values.flatten());
  if (size <= AT_ONCE || arrays.length === 1 || arrays.some((values) => values.size !== size)) {
    return flat.map((values) => totalOf(values, term));
  }
  const totals = totalOf(np.stack(flat.map((values) => runSums(values, term))), itself);
  const rows = arrays.map((_, index) => totals.ref.slice(index));
  totals.dispose();
  return rows;
}

/** Sums over the runs of the last axis, and over its rest. Consumes `values`. */
function runSums(values: np.Array, term: Term): np.Array {
  const size = lengthOf(values);
  const run = runOf(size);
  const whole = size - (size % run);
  const rows = values.shape.slice(0, -1);
  const part = (start: number, end: number): np.Array =>
    values.ref.slice(...rows.map((): [] => []), [start, end]);
  const runs = (whole === size ? values.ref : part(0, whole)).reshape([...rows, whole / run, run]);
  const sums = term(runs).sum(-1);
  const rest = whole === size ? null : term(part(whole, size)).sum(-1, { keepdims: true });
  values.dispose();
  return rest === null ? sums : np.concatenate([sums, rest], -1);
}

function lengthOf({ shape }: np.Array): number {
  return shape[shape.length - 1]!;
}

/** The longest run that divides a size and is long enough; else a full one. */
function runOf(size: number): number {
  for (let run = RUN; run >= LEAST_RUN; run -= 4) {
    if (size % run === 0) return run;
  }
  return RUN;
}

/** A flat array with zeros up to `size` elements. Consumes `values`. */
export function padded(values: np.Array, size: number): np.Array {
  return values.size === size ? values : np.pad(values, [[0, size - values.size]]);
}
