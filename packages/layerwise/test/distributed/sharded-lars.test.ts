/**
 * ShardedLARS on threads against LARS on tree sums: the drawn programs of data-parallel training, whatever they do, on 1,
 * 2, 3, 4 and 8 ranks. With 3, gradients are whole numbers, whose sums are exact in any order.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { programsOf, sharded, sizeAroundChunks } from "./data-parallel/draw.js";
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
    { size: 1, programs: 15 },
    { size: 2, programs: 40 },
    { size: 3, programs: 20 },
    { size: 4, programs: 20 },
    { size: 8, programs: 8 },
  ])(
    "$programs programs on $size ranks: weights, state, reports and refusals",
    async ({ size, programs }) => {
      await threads.expectDrawn(
        { size, programs },
        programsOf(size, MOST_PARTS).map((commands) => commands.map(sharded)),
      );
    },
    TIMEOUT_MS,
  );

  it.each([
    { size: 2, programs: 20 },
    { size: 3, programs: 12 },
    { size: 4, programs: 12 },
    { size: 8, programs: 5 },
  ])(
    "$programs programs on $size ranks, with layers around multiples of the chunk",
    async ({ size, programs }) => {
      await threads.expectDrawn(
        { size, programs },
        programsOf(size, 4, sizeAroundChunks).map((commands) => commands.map(sharded)),
      );
    },
    TIMEOUT_MS,
  );

  it("programs came to all that can happen", () => {
    expect(threads.seen.steps).toBeGreaterThan(150);
    for (const text of [
      "NonFiniteGradientError: layer ",
      ": grad: expected a Float32Array of ",
      "all ranks: lr: expected a finite number",
      ": expected weightDecay ",
      "weights after step ",
    ]) {
      expect(threads.seen.errors).toContain(text);
    }
  });
});
