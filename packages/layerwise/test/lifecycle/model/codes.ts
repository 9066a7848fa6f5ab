/** The 8-bit code as the specification describes it, in float64, without a line of the library. */
import type { WorldMomentum } from "./world.js";

const BLOCK = 256;

/** For i = 0…6 the 2^i midpoints of 2^i equal parts of [0.1, 1], times 10^(i−6), both signs; and 0 and 1. */
function signedDynamicMap(): Float64Array {
  const values = [0, 1];
  for (let i = 0; i < 7; i++) {
    const parts = 2 ** i;
    for (let part = 0; part < parts; part++) {
      const middle = 0.1 + (0.9 * (part + 0.5)) / parts;
      values.push(middle * 10 ** (i - 6), -middle * 10 ** (i - 6));
    }
  }
  return Float64Array.from(values).sort();
}

export const CODES = signedDynamicMap();

/** The largest distance of a value in [−1, 1] from its nearest code: half the gap of the upper decade, 0.9/64/2. */
export const LARGEST_CODE_ERROR = 0.9 / 64 / 2 + 1e-6;

/** What a momentum stands for. */
export function valuesOf(momentum: WorldMomentum | null, size: number): Float64Array {
  if (momentum === null) return new Float64Array(size);
  if (momentum.kind === "float32") return Float64Array.from(momentum.values);
  const { codes, absmax } = momentum;
  return Float64Array.from(codes, (code, i) => CODES[code]! * absmax[Math.floor(i / BLOCK)]!);
}

/** The distance from the nearest code. */
function nearestError(value: number): number {
  let [low, high] = [0, CODES.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (CODES[middle]! <= value) low = middle;
    else high = middle;
  }
  return Math.min(Math.abs(value - CODES[low]!), Math.abs(value - CODES[high]!));
}

/**
 * What is wrong with 8-bit momentum that should stand for values, or null. Each block's absmax must be the block's
 * largest magnitude and each code the nearest one, both up to the rounding of the values themselves.
 *
 * @param tolerance what the values that were quantised may differ by from `expected`
 * @param except blocks that are not looked at
 */
export function wrongCodes(
  { codes, absmax }: { codes: Uint8Array; absmax: Float32Array },
  expected: Float64Array,
  tolerance: number,
  except: ReadonlySet<number> = new Set(),
): string | null {
  for (let start = 0; start < expected.length; start += BLOCK) {
    if (except.has(start / BLOCK)) continue;
    const end = Math.min(start + BLOCK, expected.length);
    const scale = absmax[start / BLOCK]!;
    let largest = 0;
    for (let i = start; i < end; i++) largest = Math.max(largest, Math.abs(expected[i]!));
    if (!(Math.abs(scale - largest) <= tolerance)) {
      return `block ${start / BLOCK}: absmax is ${scale}, expected ${largest} ± ${tolerance}`;
    }
    for (let i = start; i < end; i++) {
      const stored = CODES[codes[i]!]! * scale;
      const least = scale === 0 ? 0 : nearestError(expected[i]! / scale) * scale;
      // Twice: the value that was quantised lies up to the tolerance away, and so does its nearest code.
      if (!(Math.abs(stored - expected[i]!) <= least + 2 * tolerance + 1e-6 * scale)) {
        return `element ${i}: code ${codes[i]} stands for ${stored}, expected ${expected[i]}`;
      }
    }
  }
  return null;
}
