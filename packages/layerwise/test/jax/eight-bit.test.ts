/**
 * 8-bit trajectories of layerwise/jax beside the core's. Momentum is held to the core's element by element: where
 * two codes part that were the same before, the value that is rounded, in float64, must lie on the midpoint
 * between them, up to the rounding of its terms.
 */
import type { numpy as np } from "@jax-js/jax";
import { beforeAll, describe, expect, it } from "vitest";
import type { LARSOptions, Momentum } from "../../src/index.js";
import { lars8bit } from "../../src/jax.js";
import type { LarsLayerState, LarsState } from "../../src/jax.js";
import { resolveOptions } from "../../src/options/options.js";
import { dequantizeBlockwise } from "../../src/quantization.js";
import { relativeDifference } from "../helpers/numbers.js";
import { plainLayer, plainStep } from "../helpers/straight-line.js";
import type { PlainLayer, PlainOptions } from "../helpers/straight-line.js";
import { codesOf, compare, distanceToMidpoint, initialWeights, initWasm } from "./helpers.js";
import type { Codes, StepOutcome } from "./helpers.js";

beforeAll(initWasm);

const STEPS = 50;
const TOLERANCE = 1e-5;
/** Rounding of the terms of a new momentum: a handful of float32 operations, and factors of float32 norms. */
const ROUNDING = 1e-6;
/** Elements that have parted stay apart for a while: how many of them there may be. */
const MOST_APART = 1 / 1000;

type SharedOptions = Omit<LARSOptions, "lr" | "nonFinite"> & { lr: number };

const base = { lr: 0.05, momentum: 0.9, weightDecay: 0.01 } as const;
const cases: [string, SharedOptions][] = [
  ["defaults", base],
  ["nesterov, scale-gradient", { ...base, nesterov: true, trustRatio: "scale-gradient" }],
  ["dampening, percentile clipping", { ...base, dampening: 0.2, percentileClipping: 40 }],
  ["skipZeros", { ...base, skipZeros: true }],
];

/** Follows the core in float64, from its own state before each step. */
class Midpoints {
  readonly #options: PlainOptions;
  readonly #layers: PlainLayer[];
  readonly #apart: Set<number>[];
  #compared = 0;

  constructor(options: SharedOptions) {
    const { lr, trustRatio, ...values } = resolveOptions("options", options);
    this.#options = { ...values, lr: lr as number, trustRatio };
    this.#layers = initialWeights().map(plainLayer);
    this.#apart = this.#layers.map(() => new Set<number>());
  }

  /** Elements whose codes were compared, over all steps. */
  get compared(): number {
    return this.#compared;
  }

  check({ core, coreParams, gradients, state }: StepOutcome): void {
    const before = this.#layers.map(({ momentum }) => momentum);
    plainStep(
      this.#layers.map((layer, index) => ({
        layer,
        gradient: gradients[index]!,
        options: this.#options,
      })),
    );
    core.stateDict().layers.forEach(({ momentum }, index) => {
      const states = (state as LarsState).layers as unknown as LarsLayerState[];
      const layer = this.#layers[index]!;
      const ours = states[index]!.momentum;
      if (momentum?.kind === "blockwise") {
        this.#checkCodes(index, { before: before[index]!, core: momentum, ours: blocksOf(ours) });
      } else {
        expect("codes" in ours).toBe(false);
      }
      // From where the core really is.
      layer.weights = Float64Array.from(coreParams[index]!.data);
      layer.momentum = Float64Array.from(valuesOf(momentum));
    });
  }

  #checkCodes(
    index: number,
    { before, core, ours }: { before: Float64Array | null; core: Codes; ours: Codes },
  ): void {
    const exact = this.#layers[index]!.momentum!;
    const apart = this.#apart[index]!;
    core.codes.forEach((code, element) => {
      this.#compared++;
      const other = ours.codes[element]!;
      if (code === other) {
        apart.delete(element);
      } else if (!apart.has(element)) {
        apart.add(element);
        const absmax = core.absmax[Math.floor(element / 256)]!;
        const stored = this.#options.momentum * (before?.[element] ?? 0);
        const terms = Math.abs(stored) + Math.abs(exact[element]! - stored);
        const distance = distanceToMidpoint(exact[element]! / absmax, code, other);
        expect(distance, `layer ${index}, element ${element}`).toBeLessThanOrEqual(
          (ROUNDING * terms) / absmax,
        );
      }
    });
    expect(relativeDifference(ours.absmax, core.absmax)).toBeLessThanOrEqual(TOLERANCE);
    expect(apart.size).toBeLessThanOrEqual(core.codes.length * MOST_APART);
  }
}

function blocksOf(momentum: LarsLayerState["momentum"]): Codes {
  return codesOf(momentum as { codes: np.Array; absmax: np.Array });
}

function valuesOf(momentum: Momentum | null): Float32Array {
  if (momentum === null) return new Float32Array(0);
  return momentum.kind === "float32" ? momentum.values : dequantizeBlockwise(momentum);
}

describe("lars8bit under jit: weights within 1e-5 of the core's over 50 steps", () => {
  it.each(cases)("%s: codes part only at midpoints (within 1e-6 of the terms)", (_, given) => {
    const options = { ...given, min8bitSize: 500 };
    const midpoints = new Midpoints(options);
    const { weights } = compare(
      lars8bit(options),
      { ...options, optimBits: 8 },
      {
        steps: STEPS,
        zeros: 0.2,
        afterStep: (both) => {
          midpoints.check(both);
        },
      },
    );
    expect(weights).toBeLessThanOrEqual(TOLERANCE);
    expect(midpoints.compared).toBe(STEPS * (20 * 30 + 33 * 41));
  });

  it("sees a momentum that is off by 1e-4", () => {
    const options = { ...base, min8bitSize: 500 };
    const midpoints = new Midpoints(options);
    const run = (): unknown =>
      compare(
        lars8bit({ ...options, momentum: 0.9001 }),
        { ...options, optimBits: 8 },
        {
          steps: 3,
          afterStep: (both) => {
            midpoints.check(both);
          },
        },
      );
    expect(run).toThrow(/layer \d, element \d/);
  });
});
