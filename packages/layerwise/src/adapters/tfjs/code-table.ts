/**
 * The nearest code by one look-up: a table over magnitudes' exponents and top mantissa bits. On SwiftShader a search
 * by halves took 32 ns an element, eight look-ups of which each waits for the last.
 */
import { nearestCode } from "../../state/blockwise.js";

/** Bits of a float32 that a key leaves out: 17 of 23 of the mantissa. Keys so narrow have one midpoint at most. */
export const KEY_SHIFT = 17;
const REST = (1 << KEY_SHIFT) - 1;

/** Bits of 2^-22, below the first midpoint (2.75e-7): smaller magnitudes have the code of 0. */
export const LEAST_BITS = 0x34800000;

/** Keys of one sign: up to 1. */
export const KEYS = ((0x3f800000 - LEAST_BITS) >> KEY_SHIFT) + 1;

/**
 * Makes the table.
 *
 * @returns [2 · {@link KEYS}], values ≥ 0 first, then negative ones: the code of the key's least magnitude in the
 *   lowest byte; above it the rest of the bits up to which it holds. From there on it is the next code away from 0.
 */
export function createCodeTable(): Uint32Array {
  return Uint32Array.from({ length: 2 * KEYS }, (_, index) => {
    const sign = index < KEYS ? 1 : -1;
    const least = LEAST_BITS + ((index % KEYS) << KEY_SHIFT);
    const code = nearestCode(sign * magnitudeOf(least));
    let [holds, fails] = [0, REST + 1];
    while (fails - holds > 1) {
      const middle = (holds + fails) >> 1;
      if (nearestCode(sign * magnitudeOf(least + middle)) === code) holds = middle;
      else fails = middle;
    }
    return code | (holds << 8);
  });
}

function magnitudeOf(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0]!;
}
