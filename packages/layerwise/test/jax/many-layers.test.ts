/** Models of many layers, whose scalars are decided as vectors: the same steps, in few kernels. */
import { tree } from "@jax-js/jax";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import type { LARSOptions } from "../../src/index.js";
import { lars, lars8bit, skipNonFinite } from "../../src/jax.js";
import type { GradientTransformation, OptState } from "../../src/jax.js";
import { randomArray } from "../helpers/random.js";
import { arrayOf, compare, initWasm, jitted, leavesOf, stepOf } from "./helpers.js";
import type { Arrays } from "./helpers.js";
import { pieces } from "./transformations.js";

beforeAll(initWasm);

afterEach(() => {
  vi.unstubAllGlobals();
});

/** Enough for vectors that are joined in three rounds, small layers and large ones in turn. */
const LAYERS = 60;
const shapes = Array.from({ length: LAYERS }, (_, layer) => [
  layer % 4 === 3 ? 1025 + layer : 3 + layer,
]);

/** Of one scale in all layers: the usual ones shrink tenfold from layer to layer. */
const gradient = (step: number, layer: number, size: number): Float32Array =>
  randomArray(size, 1000 + 97 * step + layer, { scale: 1 + step / 4 });

const base = { lr: 0.05, momentum: 0.9, weightDecay: 0.01 } as const;
const cases: [string, Omit<LARSOptions, "lr" | "nonFinite"> & { lr: number }][] = [
  ["defaults", base],
  ["both clippings", { ...base, percentileClipping: 40, maxGradNorm: 3 }],
  [
    "scale-gradient, joint",
    { ...base, trustRatio: { rule: "scale-gradient", denominator: "joint" } },
  ],
  ["scale-gradient with clip", { ...base, trustRatio: { rule: "scale-gradient", clip: true } }],
];

describe("60 layers, small and large: weights within 1e-5 of the core's (float32 norms)", () => {
  it.each(cases)("%s", (_, options) => {
    const { weights } = compare(lars(options), options, { steps: 5, shapes, gradient });
    expect(weights).toBeLessThanOrEqual(1e-5);
  });

  it("with every fifth layer masked", () => {
    const isMasked = (index: number): boolean => index % 5 === 0;
    const mask = shapes.map((_, index) => !isMasked(index));
    const { weights } = compare(
      lars({ ...base, trustRatioMask: mask, weightDecayMask: mask }),
      base,
      {
        steps: 5,
        shapes,
        gradient,
        groups: (params) => [
          { params: params.filter((_, index) => !isMasked(index)) },
          {
            params: params.filter((_, index) => isMasked(index)),
            trustRatio: "none",
            weightDecay: 0,
          },
        ],
      },
    );
    expect(weights).toBeLessThanOrEqual(1e-5);
  });
});

describe("kernels of a step over 60 layers of 64 elements, under jit on wasm", () => {
  /** Each kernel is an instance of a module. */
  function kernelsOf(transformation: GradientTransformation): number {
    let kernels = 0;
    const { Instance } = WebAssembly;
    vi.stubGlobal("WebAssembly", {
      ...Object.fromEntries(
        Object.getOwnPropertyNames(WebAssembly).map((name) => [
          name,
          (WebAssembly as unknown as Record<string, unknown>)[name],
        ]),
      ),
      Instance: class extends Instance {
        constructor(...given: ConstructorParameters<typeof Instance>) {
          super(...given);
          kernels++;
        }
      },
    });
    const arrays = (value: number): Arrays =>
      Array.from({ length: LAYERS }, () => arrayOf(new Float32Array(64).fill(value)));
    const step = jitted(stepOf(transformation));
    let params = arrays(1);
    let state: OptState = transformation.init(tree.ref(params));
    for (let index = 0; index < 2; index++) {
      kernels = 0;
      [params, state] = step(arrays(0.1), state, params);
      for (const each of leavesOf(params)) each.ref.dataSync();
    }
    tree.dispose([params, state] as OptState);
    step.dispose();
    return kernels;
  }

  // Measure, momentum, weights; and what decides for all of them.
  it.each([
    ["lars", lars(base), 3 * LAYERS + 25],
    ["lars with scale-gradient", lars({ ...base, trustRatio: "scale-gradient" }), 3 * LAYERS + 25],
    [
      "lars with both clippings",
      lars({ ...base, percentileClipping: 40, maxGradNorm: 3 }),
      6 * LAYERS,
    ],
    ["lars8bit", lars8bit({ ...base, min8bitSize: 1 }), 16 * LAYERS],
    ["the pieces in skipNonFinite", skipNonFinite(pieces()), 11 * LAYERS],
  ] as const)("%s", (_, transformation, most) => {
    const kernels = kernelsOf(transformation);
    expect(kernels).toBeGreaterThan(2 * LAYERS);
    expect(kernels).toBeLessThanOrEqual(most);
  });
});
