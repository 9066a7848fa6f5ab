/** The gradient noise scale, on a model where it is known in closed form. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { gradientNoise, smoothNoise } from "../src/index.js";
import type { BatchPart, SmoothedNoise } from "../src/index.js";

/** Reproducible numbers in [0, 1). */
function uniforms(seed: number): () => number {
  let state = seed;
  return () => {
    // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Loss ½|w − x|² over samples x = μ + σ·ε, ε uniform with variance 1 in each of the dimensions: the gradient of a
 * sample is w − x, the true one w − μ, so |G|² = |w − μ|² and tr(Σ) = σ²·dimensions.
 */
function quadraticBatch(
  sizes: readonly number[],
  { sigma, distance, random }: { sigma: number; distance: readonly number[]; random: () => number },
): { parts: BatchPart[]; sumSquares: number } {
  const dimensions = distance.length;
  const total = new Float64Array(dimensions);
  const parts = sizes.map((samples) => {
    const sum = new Float64Array(dimensions);
    for (let sample = 0; sample < samples; sample++) {
      for (let i = 0; i < dimensions; i++) {
        sum[i]! += distance[i]! + sigma * Math.sqrt(12) * (random() - 0.5);
      }
    }
    sum.forEach((value, i) => (total[i]! += value));
    return { samples, sumSquares: squaredNorm(sum) / samples ** 2 };
  });
  const samples = sizes.reduce((sum, size) => sum + size, 0);
  return { parts, sumSquares: squaredNorm(total) / samples ** 2 };
}

function squaredNorm(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value * value, 0);
}

describe("a quadratic model", () => {
  const distance = [1, -2, 0.5, 0, 1];
  const gradSquared = 6.25;
  const sigma = 3;
  const trace = sigma ** 2 * distance.length;

  test.each([
    ["parts of one size", [8, 8, 8, 8]],
    ["parts of different sizes", [16, 3, 1, 9]],
    ["two parts, one of a single sample", [1, 20]],
  ])("%s: means over 20,000 batches lie within 5 standard errors of the truth", (_, sizes) => {
    const random = uniforms(7);
    const found = Array.from({ length: 20_000 }, () => {
      const { parts, sumSquares } = quadraticBatch(sizes, { sigma, distance, random });
      return gradientNoise(parts, sumSquares);
    });
    for (const [name, truth] of [
      ["gradSquared", gradSquared],
      ["trace", trace],
    ] as const) {
      const values = found.map((noise) => noise[name]);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
      const errors = Math.abs(mean - truth) / Math.sqrt(variance / values.length);
      expect({ name, errors, within: errors < 5 }).toMatchObject({ name, within: true });
    }
  });

  test("smoothed over many batches, the scale is tr(Σ)/|G|² = 7.2 to 5 %", () => {
    const random = uniforms(11);
    let smoothed: SmoothedNoise | null = null;
    for (let batch = 0; batch < 20_000; batch++) {
      const { parts, sumSquares } = quadraticBatch([4, 4, 4, 4], { sigma, distance, random });
      smoothed = smoothNoise(smoothed, gradientNoise(parts, sumSquares), 0.9995);
    }
    expect(Math.abs(smoothed!.scale! / (trace / gradSquared) - 1)).toBeLessThan(0.05);
  });
});

test("the docstring's example: tr(Σ) = 204.8, |G|² = 0.8, a scale of 256", () => {
  const noise = gradientNoise(
    [
      { samples: 256, sumSquares: 1.5 },
      { samples: 256, sumSquares: 1.7 },
    ],
    1.2,
  );
  expect(noise.trace).toBeCloseTo(204.8, 9);
  expect(noise.gradSquared).toBeCloseTo(0.8, 9);
  expect(noise.scale).toBeCloseTo(256, 6);
});

test("equal gradients have no noise; gradients that cancel out have no scale", () => {
  const part = { samples: 4, sumSquares: 2 };
  expect(gradientNoise([part, part], 2)).toEqual({ gradSquared: 2, trace: 0, scale: 0 });
  const opposite = gradientNoise([part, part], 0);
  expect(opposite.gradSquared).toBeLessThan(0);
  expect(opposite.scale).toBeNull();
});

test("smoothing the same estimates changes nothing, whatever the decay; JSON keeps the state", () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      fc.integer({ min: 1, max: 30 }),
      (decay, batches) => {
        let state: SmoothedNoise | null = null;
        for (let batch = 0; batch < batches; batch++) {
          state = smoothNoise(state, { gradSquared: 2, trace: 6 }, decay);
          state = JSON.parse(JSON.stringify(state)) as SmoothedNoise;
        }
        expect(state!.scale).toBeCloseTo(3, 9);
        expect(state!.weight).toBeCloseTo(1 - decay ** batches, 9);
      },
    ),
  );
});

test.each<[string, () => unknown]>([
  [
    "parts: length: expected 2 or more, got 1",
    () => gradientNoise([{ samples: 1, sumSquares: 1 }], 1),
  ],
  ["parts: expected an array, got 3", () => gradientNoise(3 as never, 1)],
  [
    "parts[1]: samples: expected a whole number ≥ 1, got 0",
    () =>
      gradientNoise(
        [
          { samples: 1, sumSquares: 1 },
          { samples: 0, sumSquares: 1 },
        ],
        1,
      ),
  ],
  [
    "parts[0]: sumSquares: expected a finite number ≥ 0, got NaN",
    () =>
      gradientNoise(
        [
          { samples: 1, sumSquares: NaN },
          { samples: 1, sumSquares: 1 },
        ],
        1,
      ),
  ],
  [
    "decay: expected a number in [0, 1), got 1",
    () => smoothNoise(null, { gradSquared: 1, trace: 1 }, 1),
  ],
])("%s", (message, call) => {
  expect(call).toThrow(message);
});
