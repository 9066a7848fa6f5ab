/**
 * Trajectories of layerwise/jax on the wasm device, held to the core's and to the references' own. The
 * difference that is left is of float32 norms, which the core adds up in float64, and of divisions, which
 * jax-js makes of a reciprocal and a product.
 */
import { tree } from "@jax-js/jax";
import type { numpy as np } from "@jax-js/jax";
import { beforeAll, describe, expect, it } from "vitest";
import type { LARSOptions, Parameter } from "../../src/index.js";
import { lars, tabulated } from "../../src/jax.js";
import type { GradientTransformation, LarsOptions, LayerShape } from "../../src/jax.js";
import { cosine, sequence, warmup } from "../../src/options/schedules.js";
import { relativeDifference } from "../helpers/numbers.js";
import { trajectories } from "../helpers/vectors.js";
import { arrayOf, compare, initWasm, jitted, stepOf, valuesOf } from "./helpers.js";
import type { Arrays } from "./helpers.js";

beforeAll(initWasm);

const STEPS = 50;
const TOLERANCE = 1e-5;
const base = { lr: 0.05, momentum: 0.9, weightDecay: 0.01 } as const;

/** Options that both understand. */
type SharedOptions = Omit<LARSOptions, "lr" | "nonFinite"> & { lr: number };

/** Every rule with its fields, and every other option, at values that change the result. */
const cases: [string, SharedOptions][] = [
  ["defaults", base],
  ["no momentum", { lr: 0.05, weightDecay: 0.01 }],
  ["maxUnorm 0.1", { ...base, maxUnorm: 0.1 }],
  ["scale-gradient, sum", { ...base, trustRatio: "scale-gradient" }],
  [
    "scale-gradient, joint, eps",
    { ...base, trustRatio: { rule: "scale-gradient", denominator: "joint", eps: 0.01 } },
  ],
  [
    "scale-gradient, gradient, torch order, dampening",
    {
      ...base,
      dampening: 0.2,
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
  [
    "scale-update, eps",
    { ...base, trustRatio: { rule: "scale-update", coefficient: 0.02, eps: 0.1 } },
  ],
  ["none, dampening", { ...base, lr: 0.001, trustRatio: "none", dampening: 0.3 }],
  ["nesterov", { ...base, nesterov: true }],
  ["nesterov in classic order", { ...base, nesterov: true, trustRatio: "scale-gradient" }],
  [
    "percentile clipping",
    {
      ...base,
      percentileClipping: 30,
      trustRatio: { rule: "scale-update", coefficient: 0.02 },
    },
  ],
  [
    "percentile clipping before the ratio",
    { ...base, percentileClipping: 30, trustRatio: "scale-gradient" },
  ],
  ["global clipping", { ...base, lr: 0.001, maxGradNorm: 3, trustRatio: "none" }],
  [
    "both clippings, torch order",
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

describe("lars under jit: weights within 1e-5 of the core's over 50 steps (float32 norms)", () => {
  it.each(cases)("%s", (_, options) => {
    const { weights } = compare(lars(options), options, { steps: STEPS, zeros: 0.2 });
    expect(weights).toBeLessThanOrEqual(TOLERANCE);
    expect(weights).toBeGreaterThanOrEqual(0);
  });

  it("without jit", () => {
    const options = { ...base, percentileClipping: 30, skipZeros: true };
    const { weights } = compare(lars(options), options, { steps: 10, zeros: 0.2, eager: true });
    expect(weights).toBeLessThanOrEqual(TOLERANCE);
  });

  it.each(["clip-update", "scale-gradient"] as const)("with a schedule, %s", (trustRatio) => {
    const schedule = sequence([
      { schedule: warmup({ peak: 0.1, steps: 10 }), steps: 10 },
      { schedule: cosine({ start: 0.1, steps: 30 }) },
    ]);
    const options = { ...base, trustRatio };
    const { weights } = compare(
      lars({ ...options, lr: tabulated(schedule, STEPS) }),
      { ...options, lr: schedule },
      { steps: STEPS },
    );
    expect(weights).toBeLessThanOrEqual(TOLERANCE);
  });

  it.each(["clip-update", "scale-gradient"] as const)(
    "with masks in the place of groups and a schedule, %s",
    (trustRatio) => {
      const schedule = cosine({ start: 0.1, steps: 30 });
      const options = { ...base, trustRatio };
      const isMatrix = ({ shape }: Parameter): boolean => shape.length > 1;
      const transformation = lars({
        ...options,
        lr: tabulated(schedule, STEPS),
        weightDecayMask: [true, false, true],
        trustRatioMask: (shapes) => tree.map(({ ndim }: LayerShape) => ndim > 1, shapes),
      });
      const { weights } = compare(
        transformation,
        { ...options, lr: schedule },
        {
          steps: STEPS,
          groups: (params) => [
            { params: params.filter(isMatrix) },
            {
              params: params.filter((each) => !isMatrix(each)),
              trustRatio: "none",
              weightDecay: 0,
            },
          ],
        },
      );
      expect(weights).toBeLessThanOrEqual(TOLERANCE);
    },
  );
});

describe("trajectories of the references through lars", () => {
  it.each(trajectories)(
    "$title: weights within 1e-6 of the layer's largest magnitude (float32 rounding)",
    ({ options, steps, initial, gradients, weights }) => {
      const { lr, nonFinite, ...others } = options;
      // Under "throw" the trajectories would be the same: all their gradients are finite.
      expect(nonFinite).toBeUndefined();
      const rate = typeof lr === "number" ? lr : tabulated(lr, steps);
      const jaxOptions: LarsOptions = { ...others, lr: rate };
      const transformation: GradientTransformation = lars(jaxOptions);
      let params: Arrays = initial.map((values) => arrayOf(values));
      let state = transformation.init(tree.ref(params));
      const step = jitted(stepOf(transformation));
      let difference = 0;
      for (let index = 0; index < steps; index++) {
        const arrays = gradients[index]!.map((values) => arrayOf(values));
        [params, state] = step(arrays, state, params);
        (params as np.Array[]).forEach((array, layer) => {
          const found = relativeDifference(valuesOf(array), weights[index]![layer]!);
          difference = Math.max(difference, found);
        });
      }
      step.dispose();
      tree.dispose(params);
      tree.dispose(state);
      expect(difference).toBeLessThanOrEqual(1e-6);
    },
  );
});
