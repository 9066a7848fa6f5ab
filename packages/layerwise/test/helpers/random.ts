/** Data that is the same on every run. */

/** Uniform numbers in [0, 1) from a seed (mulberry32). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** How {@link randomArray} draws. */
export interface Distribution {
  /** The standard deviation. Default 1. */
  scale?: number;
  /** The part of the elements that is exactly 0. Default 0. */
  zeros?: number;
}

/** Bell-shaped values (a sum of three uniform ones) around 0. */
export function randomArray(
  length: number,
  seed: number,
  { scale = 1, zeros = 0 }: Distribution = {},
): Float32Array {
  const next = uniform(seed);
  const values = new Float32Array(length);
  for (let index = 0; index < length; index++) {
    const bell = (next() + next() + next() - 1.5) * 2;
    values[index] = zeros > 0 && next() < zeros ? 0 : bell * scale;
  }
  return values;
}
