/**
 * Nearest codes without a search: by a key, the sign, the exponent and the top 6 bits of the mantissa of a float32. No
 * two midpoints have the same key, so among the numbers with one key there is one code, or two that follow each
 * other. For programs that make a table of it: shaders, and operations of frameworks.
 */
import { nearestCode } from "./blockwise.js";
import { codebookMidpoints, createDynamicMap } from "./codebook.js";

/** The bits of a float32 below its key: 17 of the mantissa's 23. */
export const KEY_SHIFT = 17;
/** All of them: the rest of a number's bits is at most this. */
export const LARGEST_REST = 2 ** KEY_SHIFT - 1;
/** The sign's bit of a key: keys from here on are those of negative numbers. */
export const SIGN_KEY = 2 ** (31 - KEY_SHIFT);

/** The codes of the numbers with one key. */
export interface KeyCodes {
  /** Of the number with the least magnitude. */
  readonly code: number;
  /** The rest up to which it holds; from there on it is the next code away from 0. */
  readonly lastRest: number;
}

const midpoints = codebookMidpoints(createDynamicMap());

/** @param key 0 … 2^15 − 1; numbers beyond ±1 have the codes of ±1 */
export function codesOfKey(key: number): KeyCodes {
  const isNegative = key >= SIGN_KEY;
  const code = nearestCode(fromBits(key << KEY_SHIFT));
  const midpoint = midpoints[isNegative ? code - 1 : code];
  if (midpoint === undefined || bitsOf(midpoint) >>> KEY_SHIFT !== key) {
    return { code, lastRest: LARGEST_REST };
  }
  const rest = bitsOf(midpoint) & LARGEST_REST;
  // On a midpoint the lower code is the nearest: with a negative sign, the next one away from 0.
  return { code, lastRest: isNegative ? rest - 1 : rest };
}

function fromBits(bits: number): number {
  return new Float32Array(Int32Array.of(bits).buffer)[0]!;
}

function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}
