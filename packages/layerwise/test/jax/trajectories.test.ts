/** Trajectories of layerwise/jax on the wasm device, held to the core's and to optax' own. */
import { tree } from "@jax-js/jax";
import type { numpy as np } from "@jax-js/jax";
import { beforeAll, describe, expect, it } from "vitest";
import type { LARSOptions } from "../../src/index.js";
import { lars, lars8bit, tabulated } from "../../src/jax.js";
import type { LarsOptions, LarsState } from "../../src/jax.js";
import { cosine } from "../../src/schedules.js";
import { codesOf, compare, initWasm, isAtMidpoint } from "./helpers.js";

beforeAll(initWasm);

const STEPS = 50;
const TOLERANCE = 1e-5;
const base = { lr: 0.05, momentum: 0.9, weightDecay: 0.01 } as const;

/** Every rule with its fields, and every other option, at values that change the result. */
const cases: [string, LARSOptions & LarsOptions][] = [
  ["the default", base],
  ["without momentum", { lr: 0.05, weightDecay: 0.01 }],
  [
    "clip-update, frozen at zero",
    { ...base, trustRatio: { rule: "clip-update", maxUnorm: 0.1, whenZero: "freeze" } },
  ],
  ["scale-gradient, sum", { ...base, trustRatio: "scale-gradient" }],
  [
    "scale-gradient, joint",
    { ...base, trustRatio: { rule: "scale-gradient", denominator: "joint", eps: 0.01 } },
  ],
  [
    "scale-gradient, gradient, torch order",
    {
      ...base,
      trustRatio: {
        rule: "scale-gradient",
        denominator: "gradient",
        coefficient: 0.02,
        momentumOrder: "torch",
      },
    },
  ],
  [
    "scale-gradient, clip",
    { ...base, trustRatio: { rule: "scale-gradient", clip: true, coefficient: 0.02 } },
  ],
  ["scale-update", { ...base, trustRatio: { rule: "scale-update", coefficient: 0.02, eps: 0.1 } }],
  ["none, dampening", { ...base, lr: 0.001, trustRatio: "none", dampening: 0.3 }],
  ["nesterov", { ...base, nesterov: true }],
  ["nesterov, classic order", { ...base, nesterov: true, trustRatio: "scale-gradient" }],
  [
    "percentile clipping",
    { ...base, percentileClipping: 30, trustRatio: { rule: "scale-update", coefficient: 0.02 } },
  ],
  [
    "percentile clipping, before the momentum",
    { ...base, percentileClipping: 30, trustRatio: { rule: "scale-gradient" } },
  ],
  ["global clipping", { ...base, lr: 0.001, maxGradNorm: 3, trustRatio: "none" }],
  [
    "both clippings",
    {
      ...base,
      maxGradNorm: 3,
      percentileClipping: 50,
      trustRatio: { rule: "scale-gradient", momentumOrder: "torch" },
    },
  ],
  ["skipZeros", { ...base, skipZeros: true }],
  [
    "skipZeros, joint, nesterov",
    {
      ...base,
      skipZeros: true,
      nesterov: true,
      trustRatio: { rule: "scale-gradient", denominator: "joint" },
    },
  ],
];

describe("lars under jit equals the core within 1e-5 of a layer's largest weight over 50 steps (float32 norms)", () => {
  it.each(cases)("%s", (_, options) => {
    const { weights } = compare(lars(options), options, { steps: STEPS, zeros: 0.2 });
    expect(weights).toBeLessThanOrEqual(TOLERANCE);
    console.log(_, weights);
  });
});
