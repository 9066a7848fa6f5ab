/**
 * The reference implementations' own results (vectors/lars.json), reproduced by every kernel through the
 * presets. Differences are of float32 rounding: the references round after every operation, each in
 * another order. They are taken relative to a layer's largest magnitude; see relativeDifference.
 */
import { describe, expect, it } from "vitest";
import { clipToPercentile } from "../src/decide/percentile-clipping.js";
import { LARS, Parameter } from "../src/index.js";
import type { LayerState } from "../src/index.js";
import { createDynamicMap, dequantizeBlockwise, quantizeBlockwise } from "../src/quantization.js";
import { forEachKernel, kernels } from "./helpers/kernels.js";
import type { TestedKernel } from "./helpers/kernels.js";
import { expectSameBits, relativeDifference } from "./helpers/numbers.js";
import { dynamicMap, percentileClippings, quantizations, trajectories } from "./helpers/vectors.js";
import type { Trajectory, TrajectoryState } from "./helpers/vectors.js";

const TOLERANCE = 1e-6;

/** The largest differences over all steps and layers of a trajectory. */
interface Differences {
  weights: number;
  /** Of momentum, or of absmax where the state has 8 bits; null where the reference shows none. */
  state: number | null;
  /** Codes that are not equal. */
  codes: number | null;
}

function differingCodes(actual: Uint8Array, expected: Uint8Array): number {
  expect(actual.length).toBe(expected.length);
  return expected.reduce((count, code, index) => count + (code === actual[index] ? 0 : 1), 0);
}

function larger(current: number | null, next: number): number {
  return current === null || !(next <= current) ? next : current;
}

function compareState(
  differences: Differences,
  momentum: LayerState["momentum"],
  expected: TrajectoryState,
): void {
  if (momentum?.kind === "float32" && expected.momentum !== null) {
    const difference = relativeDifference(momentum.values, expected.momentum);
    differences.state = larger(differences.state, difference);
  } else if (
    momentum?.kind === "blockwise" &&
    expected.codes !== null &&
    expected.absmax !== null
  ) {
    differences.codes = (differences.codes ?? 0) + differingCodes(momentum.codes, expected.codes);
    const difference = relativeDifference(momentum.absmax, expected.absmax);
    differences.state = larger(differences.state, difference);
  } else {
    expect.fail(`the state is ${momentum?.kind ?? "none"}, the reference's is another kind`);
  }
}

function differencesOf(trajectory: Trajectory, { options }: TestedKernel): Differences {
  const params = trajectory.initial.map((initial) => {
    const parameter = Parameter.allocate([initial.length]);
    parameter.data.set(initial);
    return parameter;
  });
  const optimizer = new LARS(params, trajectory.options, options);
  const differences: Differences = { weights: 0, state: null, codes: null };
  for (let step = 0; step < trajectory.steps; step++) {
    params.forEach((parameter, layer) => {
      parameter.grad.set(trajectory.gradients[step]![layer]!);
    });
    optimizer.step();
    const { layers } = optimizer.stateDict();
    params.forEach(({ data }, layer) => {
      const difference = relativeDifference(data, trajectory.weights[step]![layer]!);
      differences.weights = larger(differences.weights, difference);
      const expected = trajectory.states?.[step]?.[layer];
      if (expected !== undefined) compareState(differences, layers[layer]!.momentum, expected);
    });
  }
  optimizer.dispose();
  params.forEach((parameter) => {
    parameter.dispose();
  });
  return differences;
}

describe("trajectories of the references", () => {
  forEachKernel((kernel) => {
    it.each(trajectories)(
      "$title: weights and state within 1e-6 of the layer's largest magnitude (float32 rounding), codes equal",
      (trajectory) => {
        const { weights, state, codes } = differencesOf(trajectory, kernel);
        expect(weights).toBeLessThanOrEqual(TOLERANCE);
        if (trajectory.states === null) expect(state).toBeNull();
        else expect(state).toBeLessThanOrEqual(TOLERANCE);
        if (trajectory.options.optimBits === 8) expect(codes).toBe(0);
      },
    );
  });

  /** What the documentation quotes. After a change of a kernel's arithmetic: `npx vitest run -u vectors`. */
  it("differ by what vectors/MEASURED.md says", async () => {
    await expect(measuredTable()).toMatchFileSnapshot("vectors/MEASURED.md");
  });
});

function measuredTable(): string {
  const rows = trajectories.map((trajectory) => {
    const differences = kernels.map((kernel) => differencesOf(trajectory, kernel));
    return [
      trajectory.title,
      `\`${trajectory.preset}\``,
      ...differences.map(({ weights }) => weights.toExponential(1)),
      ...differences.map(({ state }) => state?.toExponential(1) ?? "–"),
      differences.map(({ codes }) => codes ?? "–").join(" / "),
    ].map(String);
  });
  const names = kernels.map(({ name }) => name);
  const header = [
    "trajectory",
    "preset",
    ...names.map((name) => `weights, ${name}`),
    ...names.map((name) => `state, ${name}`),
    "codes that differ",
  ];
  return [
    "# Measured differences from the references",
    "",
    "The largest difference over all steps and layers of each trajectory of `lars.json`, relative to the",
    "layer's largest magnitude. State: momentum, or the absmax of 8-bit momentum. Written by",
    "`vectors.test.ts`, which fails when a number here is not what it measures.",
    "",
    ...markdownTable([header, ...rows]),
    "",
  ].join("\n");
}

/** A table with padded cells, as Prettier lays it out. */
function markdownTable(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const padded = rows.map((row) => line(row.map((cell, column) => cell.padEnd(widths[column]!))));
  return [padded[0]!, line(widths.map((width) => "-".repeat(width))), ...padded.slice(1)];
}

describe("block-wise quantisation of the reference", () => {
  it.each(quantizations)("$kind: codes, absmax and values equal to the bit", (vector) => {
    const { codes, absmax } = quantizeBlockwise(vector.values);
    expectSameBits(codes, vector.codes, "codes");
    expectSameBits(absmax, vector.absmax, "absmax");
    expectSameBits(dequantizeBlockwise({ codes, absmax }), vector.dequantized, "values");
  });

  forEachKernel(({ options }) => {
    it.each(quantizations)("$kind: as the state after a first step, equal to the bit", (vector) => {
      const parameter = new Parameter(new Float32Array(vector.values.length));
      parameter.grad = vector.values;
      // The first step's momentum is its gradient.
      const optimizer = new LARS(
        [parameter],
        { lr: 0, momentum: 0.9, optimBits: 8, min8bitSize: 1, trustRatio: "none" },
        options,
      );
      optimizer.step();
      const momentum = optimizer.stateDict().layers[0]!.momentum;
      if (momentum?.kind !== "blockwise") return expect.fail("no 8-bit state");
      expectSameBits(momentum.codes, vector.codes, "codes");
      expectSameBits(momentum.absmax, vector.absmax, "absmax");
      optimizer.dispose();
    });
  });

  it("has the codebook of the reference to the bit", () => {
    expectSameBits(createDynamicMap(), dynamicMap);
  });
});

describe("percentile clipping of the reference", () => {
  it.each(percentileClippings)(
    "percentile $percentile: the scale of each of $steps steps within 1e-6 (the reference's history is float32)",
    ({ percentile, norms, scales }) => {
      let history: Float64Array | null = null;
      norms.forEach((norm, step) => {
        const clip = clipToPercentile(history, step + 1, norm * norm, percentile);
        history = clip.history;
        expect(Math.abs(clip.scale - scales[step]!)).toBeLessThanOrEqual(TOLERANCE * scales[step]!);
      });
    },
  );

  forEachKernel(({ options }) => {
    it.each(percentileClippings)(
      "percentile $percentile: the reported clipScale of each of $steps steps within 1e-6 (gradients are float32)",
      ({ percentile, norms, scales }) => {
        const parameter = new Parameter(new Float32Array(9).fill(1));
        const optimizer = new LARS(
          [parameter],
          { lr: 0.001, momentum: 0.9, percentileClipping: percentile },
          options,
        );
        norms.forEach((norm, step) => {
          parameter.grad = new Float32Array(9).fill(norm / 3);
          const { clipScale } = optimizer.step().layers[0]!;
          expect(Math.abs(clipScale - scales[step]!)).toBeLessThanOrEqual(
            TOLERANCE * scales[step]!,
          );
        });
        expect(scales.some((scale) => scale < 1)).toBe(true);
      },
    );
  });
});
