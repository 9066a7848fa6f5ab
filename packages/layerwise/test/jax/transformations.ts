/** Every transformation of layerwise/jax, with options that change what it remembers. */
import {
  addDecayedWeights,
  chain,
  clipByPercentile,
  lars,
  lars8bit,
  masked,
  multiSteps,
  scaleByLearningRate,
  scaleByTrustRatio,
  skipNonFinite,
  tabulated,
  trace,
} from "../../src/jax.js";
import type { GradientTransformation } from "../../src/jax.js";

const options = { lr: 0.05, momentum: 0.9, weightDecay: 0.01, min8bitSize: 500 };
const schedule = tabulated((step) => 0.1 / (1 + step), 10);
const clippedRatio = { trustRatio: { rule: "scale-gradient", clip: true } } as const;

/** The pieces that make what `lars` makes with percentile clipping. */
export function pieces(): GradientTransformation {
  return chain(
    clipByPercentile(50),
    addDecayedWeights(0.01),
    trace({ momentum: 0.9, optimBits: 8, min8bitSize: 500, skipZeros: true }),
    scaleByTrustRatio(),
    scaleByLearningRate(0.1),
  );
}

/** For trees of three layers. */
export const transformations: [string, GradientTransformation][] = [
  ["lars", lars(options)],
  ["lars, scale-gradient with clip", lars({ ...options, ...clippedRatio })],
  [
    "lars with everything",
    lars({
      ...options,
      lr: schedule,
      nesterov: true,
      percentileClipping: 40,
      maxGradNorm: 1,
      skipZeros: true,
      trustRatioMask: [true, false, true],
    }),
  ],
  ["lars without momentum", lars({ lr: 0.1, trustRatio: "none" })],
  ["lars8bit", lars8bit({ ...options, dampening: 0.1, skipZeros: true })],
  ["lars8bit with clipping", lars8bit({ ...options, percentileClipping: 40, maxGradNorm: 1 })],
  ["clipByPercentile", clipByPercentile(40)],
  ["addDecayedWeights", addDecayedWeights(0.1)],
  ["trace", trace({ decay: 0.9 })],
  ["trace with dampening, 8 bits", trace({ momentum: 0.9, dampening: 0.1, optimBits: 8 })],
  ["scaleByTrustRatio", scaleByTrustRatio()],
  ["scaleByTrustRatio with a rate", scaleByTrustRatio({ ...clippedRatio, lr: 0.1 })],
  ["scaleByTrustRatio with a schedule", scaleByTrustRatio({ ...clippedRatio, lr: schedule })],
  ["scaleByLearningRate", scaleByLearningRate(0.1)],
  ["scaleByLearningRate with a schedule", scaleByLearningRate(schedule)],
  ["a chain of the pieces", pieces()],
  [
    "a chain with the ratio before the momentum",
    chain(
      scaleByTrustRatio({ ...clippedRatio, lr: 0.1, weightDecay: 0.01 }),
      trace({ momentum: 0.9 }),
      scaleByLearningRate(0.1),
    ),
  ],
  ["skipNonFinite", skipNonFinite(pieces())],
  ["multiSteps", multiSteps(lars8bit({ ...options, percentileClipping: 40 }), 2)],
  ["multiSteps with sums", multiSteps(trace({ decay: 0.9 }), 3, { useGradMean: false })],
  ["masked", masked(pieces(), [true, false, true])],
  ["masked, no layer left", masked(pieces(), false)],
  ["all in one", skipNonFinite(multiSteps(masked(lars(options), [false, true, true]), 2))],
];
