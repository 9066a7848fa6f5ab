/** A sharded training that goes on with other numbers of processes, from one file: the same bits as one process. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CHUNK_SIZE } from "../../src/kernels/kernel.js";
import { ranksOf } from "./ranks/run-on-ranks.js";
import type { Ranks } from "./ranks/run-on-ranks.js";
import type { Leg, LegOutcome } from "./sharded/run.js";

const TIMEOUT_MS = 240_000;
/** Elements of all layers, and their bytes of 8-bit momentum: a code each, and 4 bytes for 256 of them. */
const ELEMENTS = 10 + 32_768 + 210_000 + 25 + 7;
const bytesOf = (elements: number): number => elements + (4 * elements) / 256;
/** More than that: partial last blocks of 5 layers, and 42 elements in layers too small for 8 bits. */
const MORE_BYTES = 4 * 5 + 3 * 42;

let ranks: Ranks<Leg, LegOutcome>;
beforeAll(async () => {
  ranks = await ranksOf(new URL("sharded/run.ts", import.meta.url));
}, TIMEOUT_MS);
afterAll(() => ranks.dispose());

/** Legs of two steps, one after the other, each from the checkpoint of the one before. */
async function train(sizes: readonly number[]): Promise<LegOutcome[]> {
  let outcomes: LegOutcome[] = [];
  for (const [index, size] of sizes.entries()) {
    const [last] = outcomes;
    const leg = { from: last?.checkpoint ?? null, weights: last?.weights ?? null };
    outcomes = await ranks.run(size, { ...leg, firstStep: 2 * index, steps: 2 });
    expect(new Set(outcomes.map(({ digest }) => digest)).size).toBe(1);
  }
  return outcomes;
}

describe("from one file, the bits of one process", () => {
  it.each([[[2, 2, 2, 2]], [[4, 2, 4, 2]], [[4, 2, 8, 1]], [[8, 8, 8, 8]]])(
    "%j processes",
    async (sizes) => {
      const [alone] = await train([1, 1, 1, 1]);
      const [elastic] = await train(sizes);
      expect(elastic!.digest).toBe(alone!.digest);
    },
    TIMEOUT_MS,
  );

  it(
    "a file from before the first step, and one saved at once after it was loaded",
    async () => {
      const [before] = await ranks.run(4, { from: null, weights: null, firstStep: 0, steps: 0 });
      const leg = { from: before!.checkpoint, weights: before!.weights, firstStep: 0 };
      const [again] = await ranks.run(2, { ...leg, steps: 0 });
      expect(again!.digest).toBe(before!.digest);
      const [after] = await ranks.run(8, { ...leg, from: again!.checkpoint, steps: 2 });
      const [alone] = await ranks.run(1, { from: null, weights: null, firstStep: 0, steps: 2 });
      expect(after!.digest).toBe(alone!.digest);
    },
    TIMEOUT_MS,
  );
});

it(
  "a process has 1/N of the state and a chunk at most; together they have all of it",
  async () => {
    for (const size of [1, 2, 4, 8]) {
      const outcomes = await ranks.run(size, {
        ...{ from: null, weights: null, firstStep: 0, steps: 1 },
      });
      const bytes = outcomes.map(({ stateBytes }) => stateBytes);
      const most = bytesOf(ELEMENTS / size + CHUNK_SIZE) + MORE_BYTES;
      expect(Math.max(...bytes)).toBeLessThanOrEqual(most);
      const all = bytes.reduce((sum, own) => sum + own, 0);
      expect(Math.abs(all - bytesOf(ELEMENTS))).toBeLessThanOrEqual(MORE_BYTES);
    }
  },
  TIMEOUT_MS,
);

describe("a step has no hidden exchanges", () => {
  const leg = { from: null, weights: null, firstStep: 0, steps: 2 };
  const needed = [
    "allGather", // whether all can make the step
    "reduceScatter", // the gradients
    "allGather", // the sums of squares, once
    "allGather", // the weights
  ];
  it("all layers adapted, nothing clipped", async () => {
    const [{ calls } = { calls: [] }] = await ranks.run(4, { ...leg, isPlain: true });
    expect(calls).toEqual(needed);
  });

  it("clipping measures updates again, and norms of excluded layers are for the report", async () => {
    const [{ calls } = { calls: [] }] = await ranks.run(4, leg);
    expect(calls).toEqual([...needed, "allGather", "allGather"]);
  });
});

it("refused on every process, in the same words", async () => {
  const outcomes = await ranks.run(4, { from: null, weights: null, firstStep: 0, steps: 1 });
  for (const { refusals } of outcomes) expect(refusals).toEqual(outcomes[0]!.refusals);
  expect(outcomes[0]!.refusals).toEqual([
    expect.stringContaining("DataParallel: optimizer: expected a LARS, LARS8bit or LARS32bit, got"),
    expect.stringContaining("state: expected 5 layers, as the optimizer has, got 0 layers"),
    expect.stringContaining("lr: expected a finite number"),
  ]);
});
