/**
 * DataParallel on threads against the local optimizer on tree sums: drawn programs, on 1, 2, 3, 4 and 8 ranks. With 3,
 * gradients are whole numbers, whose sums are exact in any order.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { programsOf } from "./data-parallel/draw.js";
import type { Command, GradientSpec } from "./data-parallel/program.js";
import { ProgramsOnThreads } from "./data-parallel/programs-on-threads.js";

const TIMEOUT_MS = 240_000;
/** Of a program, each of one to a few commands. */
const MOST_PARTS = 8;

let threads: ProgramsOnThreads;

beforeAll(async () => {
  threads = await ProgramsOnThreads.start();
}, TIMEOUT_MS);

afterAll(() => threads.dispose());

describe("on threads, as the local optimizer on sums, to the bit", () => {
  it.each([
    { size: 1, programs: 40 },
    { size: 2, programs: 60 },
    { size: 3, programs: 30 },
    { size: 4, programs: 30 },
    { size: 8, programs: 12 },
  ])(
    "$programs programs on $size ranks: weights, state, reports and refusals",
    async ({ size, programs }) => {
      await threads.expectDrawn({ size, programs }, programsOf(size, MOST_PARTS));
    },
    TIMEOUT_MS,
  );

  const values = { seed: 5, scale: 1, zeros: 0, isWhole: true };
  const layers = [200_000, 300, 7].map((size, index) => ({
    ...{ name: `layer ${index}`, size, seed: index, scale: 1, isAllocated: true },
  }));
  const create: Command = {
    kind: "create",
    className: "LARS8bit",
    kernel: "wasm",
    groups: [{ layers, options: {} }],
    options: { lr: 0.1, momentum: 0.9, weightDecay: 1e-4, percentileClipping: 50 },
    parallel: { bucketBytes: 1000 },
  };
  const save: Command = { kind: "save" };
  const load = (isNew: boolean, isOnAll: boolean): Command => ({ kind: "load", isNew, isOnAll });
  const stepOf =
    (gradients: (rank: number) => GradientSpec[]) =>
    (size: number): Command => ({
      kind: "step",
      gradients: Array.from({ length: size }, (_, rank) => gradients(rank)),
      gradScale: 1,
      announced: Array.from({ length: size }, (_, rank) => ({ seed: rank, isAll: rank !== 0 })),
    });
  const full = stepOf((rank) => layers.map((_, layer) => ({ ...values, seed: 10 * rank + layer })));
  const frozen = stepOf((rank) => [null, { ...values, seed: rank }, { ...values, seed: 9 + rank }]);
  const onLastRank = (size: number): Command =>
    stepOf((rank) => [null, rank === size - 1 ? values : null, values])(size);
  const withNaN = stepOf((rank) => [values, rank === 0 ? "NaN" : values, values]);

  it.each([
    {
      name: "a large frozen first layer",
      program: [frozen, frozen, save, load(true, false), frozen],
    },
    { name: "a gradient on the last rank only", program: [full, onLastRank, onLastRank, full] },
    { name: "a NaN on rank 0", program: [full, withNaN, full, withNaN] },
    {
      name: "saved before the first step",
      program: [save, load(true, true), full, load(true, false), full],
    },
    {
      name: "saved at once after a load, and loaded at once after that",
      program: [
        full,
        save,
        load(true, false),
        save,
        load(true, true),
        full,
        load(false, true),
        full,
      ],
    },
  ])(
    "$name, on 1, 2, 3, 4 and 8 ranks",
    async ({ program }) => {
      for (const size of [1, 2, 3, 4, 8]) {
        const commands = program.map((part) => (typeof part === "function" ? part(size) : part));
        await threads.expect(size, [create, ...commands]);
      }
    },
    TIMEOUT_MS,
  );

  it("programs came to all that can happen", () => {
    expect(threads.seen.steps).toBeGreaterThan(300);
    expect(threads.seen.skipped).toBeGreaterThan(5);
    for (const text of [
      "NonFiniteGradientError: layer ",
      ": grad: expected a Float32Array of ",
      "all ranks: lr: expected a finite number",
      ": optimizer: expected number of groups ",
      ": expected weightDecay ",
      "weights after step ",
      "as on rank 0, got ",
    ]) {
      expect(threads.seen.errors).toContain(text);
    }
  });
});
