/**
 * ShardedLARS on threads against LARS on tree sums: the drawn programs of data-parallel training, whatever they do, on 1,
 * 2, 3, 4 and 8 ranks. With 3, gradients are whole numbers, whose sums are exact in any order.
 */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runs } from "../helpers/arbitraries.js";
import { programsOf, sharded, sizeAroundChunks } from "./data-parallel/draw.js";
import { checkedProgram, expectProgram } from "./data-parallel/expect-program.js";
import type { Command, Outcome } from "./data-parallel/program.js";
import { ranksOf } from "./ranks/run-on-ranks.js";
import type { Ranks } from "./ranks/run-on-ranks.js";

const TIMEOUT_MS = 240_000;
/** Of a program, each of one to a few commands. */
const MOST_PARTS = 8;

let ranks: Ranks<readonly Command[], Outcome[]>;

beforeAll(async () => {
  ranks = await ranksOf(new URL("data-parallel/run.ts", import.meta.url));
}, TIMEOUT_MS);

afterAll(() => ranks.dispose());

/** What programs came to, on any number of ranks. */
const seen = { steps: 0, skipped: 0, errors: "" };

async function expectOnThreads(size: number, drawn: readonly Command[]): Promise<void> {
  const program = checkedProgram(size, drawn.map(sharded));
  const outcomes = await ranks.run(size, program.commands);
  expectProgram(program, outcomes);
  for (const { report, error } of outcomes[0]!) {
    if (report !== null) seen.steps++;
    if (report?.skipped === true) seen.skipped++;
    seen.errors += `${error ?? ""}\n`;
  }
}

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
      const property = fc.asyncProperty(programsOf(size, MOST_PARTS), (commands) =>
        expectOnThreads(size, commands),
      );
      // Shrinking would take hundreds of jobs, each with its threads.
      await fc.assert(property, { ...runs(programs), endOnFailure: true } as fc.Parameters<
        [Command[]]
      >);
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
      const property = fc.asyncProperty(programsOf(size, 4, sizeAroundChunks), (commands) =>
        expectOnThreads(size, commands),
      );
      await fc.assert(property, { ...runs(programs), endOnFailure: true } as fc.Parameters<
        [Command[]]
      >);
    },
    TIMEOUT_MS,
  );

  it("programs came to all that can happen", () => {
    expect(seen.steps).toBeGreaterThan(150);
    for (const text of [
      "NonFiniteGradientError: layer ",
      ": grad: expected a Float32Array of ",
      "all ranks: lr: expected a finite number",
      ": expected weightDecay ",
      "weights after step ",
    ]) {
      expect(seen.errors).toContain(text);
    }
  });
});
