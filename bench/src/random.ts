/** Seeded numbers: the same on every run and machine. */

/** Fills with numbers of mean 0 and about normal distribution, with the given standard deviation. */
export function fillNormal(values: Float32Array, deviation: number, seed: number): void {
  // Three uniform numbers add up to variance 1/4 (each −½ … ½ has 1/12).
  const scale = 2 * deviation;
  let state = (seed * 2654435761 + 1) >>> 0 || 1;
  const next = (): number => {
    // xorshift32 (Marsaglia 2003): 2^32 − 1 values before it repeats.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32 - 0.5;
  };
  for (let i = 0; i < values.length; i++) values[i] = scale * (next() + next() + next());
}
