/** The tree collective on threads against sums made on one thread, to the bit; on 1, 2, 3, 4 and 8 ranks. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TreeOptions } from "../../src/distributed/tree/tree-collective.js";
import { runs } from "../helpers/arbitraries.js";
import { ranksOf } from "./ranks/run-on-ranks.js";
import type { Ranks } from "./ranks/run-on-ranks.js";
import type { Call, CallOutcome, Job, TypeName } from "./tree/calls.js";
import { mailboxes } from "./tree/thread-transport.js";

const TIMEOUT_MS = 240_000;
let ranks: Ranks<Job, CallOutcome[]>;
beforeAll(async () => {
  ranks = await ranksOf(new URL("tree/calls.ts", import.meta.url));
}, TIMEOUT_MS);
afterAll(() => ranks.dispose());

/** Outcomes by call, then by rank. */
async function outcomesOf(
  size: number,
  calls: readonly Call[],
  options: Job["options"] = { blockElements: 7 },
): Promise<CallOutcome[][]> {
  const byRank = await ranks.run(size, { memory: mailboxes(size), options, calls });
  return calls.map((_, index) => byRank.map((outcomes) => outcomes[index]!));
}

/** ((0 + 1) + (2 + 3)) + …, each sum rounded to float32. */
function treeSum(parts: readonly (readonly number[])[]): number[] {
  if (parts.length === 1) return [...parts[0]!];
  const half = parts.length / 2;
  const [left, right] = [treeSum(parts.slice(0, half)), treeSum(parts.slice(half))];
  return left.map((value, index) => Math.fround(value + right[index]!));
}

/** Bits; whatever is not finite counts as NaN, which an infinite sum becomes when something is added to it. */
const bits = (values: readonly number[]): number[] => [
  ...new Uint32Array(
    Float32Array.from(values, (value) => (Number.isFinite(value) ? value : NaN)).buffer,
  ),
];
const flat = (arrays: readonly ArrayLike<number>[]): number[] =>
  arrays.flatMap((array) => Array.from(array));

/** Values whose sums depend on their order, and the special ones. */
const float = fc.oneof(
  { weight: 8, arbitrary: fc.float({ noNaN: true, min: -1e6, max: 1e6 }) },
  fc.constantFrom(0, -0, 1e30, -1e30, Infinity, 2 ** -149),
);
const sizes = fc.constantFrom(1, 2, 4, 8);
const lengths = fc.array(fc.nat({ max: 20 }), { maxLength: 5 });

/** Values of every rank, in arrays of the same lengths. */
function valuesOf(size: number, of: readonly number[]): fc.Arbitrary<number[][][]> {
  const arrays = fc.tuple(
    ...of.map((length) => fc.array(float, { minLength: length, maxLength: length })),
  );
  return fc.array(arrays, { minLength: size, maxLength: size });
}

/** Parts of a sequence, some of them empty. */
function countsOf(size: number, total: number): fc.Arbitrary<number[]> {
  const cuts = fc.array(fc.nat({ max: total }), { minLength: size - 1, maxLength: size - 1 });
  return cuts.map((unsorted) => {
    const sorted = [0, ...[...unsorted].sort((a, b) => a - b), total];
    return sorted.slice(1).map((end, index) => end - sorted[index]!);
  });
}

interface Sum {
  readonly size: number;
  readonly call: Call;
}

const sums: fc.Arbitrary<Sum> = fc.tuple(sizes, lengths).chain(([size, of]) => {
  const total = of.reduce((sum, length) => sum + length, 0);
  return fc.tuple(valuesOf(size, of), countsOf(size, total)).map(([values, counts]) => ({
    size,
    call: { kind: "allReduce" as const, type: "Float32Array" as const, values, counts, root: 0 },
  }));
});

describe("sums have the bits of the balanced tree over ranks", () => {
  it(
    "allReduce on every rank; reduceScatter for any parts, in blocks of any size",
    async () => {
      await fc.assert(
        fc.asyncProperty(sums, fc.integer({ min: 1, max: 40 }), async ({ size, call }, block) => {
          const calls = [call, { ...call, kind: "reduceScatter" as const }];
          const [all, scattered] = await outcomesOf(size, calls, { blockElements: block });
          const expected = bits(treeSum(call.values.map(flat)));
          let begin = 0;
          for (let rank = 0; rank < size; rank++) {
            expect(all![rank]!.error).toBe(null);
            expect(bits(flat(all![rank]!.values))).toEqual(expected);
            const end = begin + call.counts[rank]!;
            const own = bits(flat(scattered![rank]!.values)).slice(begin, end);
            expect(own).toEqual(expected.slice(begin, end));
            begin = end;
          }
        }),
        runs(25),
      );
    },
    TIMEOUT_MS,
  );

  it("−0 adds nothing, and NaN comes to every rank", async () => {
    const values = [[[-0, -0, 5]], [[-0, 2 ** -149, NaN]], [[-0, -0, 1]], [[-0, -0, 1]]];
    const call = { kind: "allReduce", type: "Float32Array", values, counts: [], root: 0 } as const;
    const [all] = await outcomesOf(4, [call]);
    for (const { values: sum } of all!) expect(flat(sum)).toEqual([-0, 2 ** -149, NaN]);
  });

  it("3 ranks, and the library's order: the same on every rank, equal to rounding", async () => {
    const values = [[[1, 1e8]], [[2, 1]], [[3, -1e8]]];
    const call = { kind: "allReduce", type: "Float32Array", values, counts: [], root: 0 } as const;
    const scatter = { ...call, kind: "reduceScatter", counts: [1, 0, 1] } as const;
    const [all, scattered] = await outcomesOf(3, [call, scatter]);
    for (const outcome of all!) expect(outcome.values).toEqual(all![0]!.values);
    expect(all![0]!.values[0]![0]).toBe(6);
    // The terms are 1e8, where float32 has steps of 8.
    expect(Math.abs(all![0]!.values[0]![1]! - 1)).toBeLessThanOrEqual(8);
    expect([scattered![0]!.values[0]![0], scattered![2]!.values[0]![1]]).toEqual([
      6,
      all![0]!.values[0]![1],
    ]);
    const two = { ...call, values: values.slice(0, 2) };
    const [library] = await outcomesOf(2, [two], { order: "library", blockElements: 1 });
    for (const { values: sum } of library!) expect(flat(sum)).toEqual([3, 1e8]);
  });
});

describe("allGather and broadcast move every bit", () => {
  const types: TypeName[] = [
    "Float32Array",
    "Float64Array",
    "Uint8Array",
    "Int32Array",
    "Uint32Array",
  ];
  it.each([1, 2, 3, 4, 8])(
    "of all types, on %i ranks",
    async (size) => {
      const lengthsOfArrays = [3, 0, 11, 1];
      const total = 15;
      const counts = new Array<number>(size).fill(0);
      if (size === 1) counts[0] = total;
      else [counts[0], counts[1]] = [4, 11];
      const values = Array.from({ length: size }, (_, rank) =>
        lengthsOfArrays.map((length, array) =>
          Array.from({ length }, (_, index) => (rank + 1) * 16 + array * 5 + index),
        ),
      );
      const calls = types.flatMap((type): Call[] => [
        { kind: "allGather", type, values, counts, root: 0 },
        { kind: "broadcast", type, values, counts: [], root: size - 1 },
        { kind: "barrier", type, values, counts: [], root: 0 },
      ]);
      const outcomes = await outcomesOf(size, calls);
      const ownerOf = (index: number): number =>
        counts.findIndex((_, rank) => index < counts.slice(0, rank + 1).reduce((a, b) => a + b, 0));
      const gathered = flat(values[0]!).map((_, index) => flat(values[ownerOf(index)]!)[index]!);
      calls.forEach(({ kind }, index) => {
        for (const [rank, { values: got, error }] of outcomes[index]!.entries()) {
          expect(error).toBe(null);
          if (kind === "allGather") expect(flat(got)).toEqual(gathered);
          if (kind === "broadcast") expect(flat(got)).toEqual(flat(values[size - 1]!));
          if (kind === "barrier") expect(flat(got)).toEqual(flat(values[rank]!));
        }
      });
    },
    TIMEOUT_MS,
  );
});

describe("refused on every rank, before any message", () => {
  const good: Call = {
    kind: "allReduce",
    type: "Float32Array",
    values: [[[1, 2]], [[3, 4]]],
    counts: [1, 1],
    root: 0,
  };
  it.each<[string, Call, RegExp]>([
    [
      "lengths that differ",
      { ...good, values: [[[1, 2]], [[3]]] },
      /allReduce: expected the same call on all ranks, got allReduce of 2 elements .* on rank 0, .* of 1 elements .* on rank 1/,
    ],
    [
      "counts that are not the length",
      { ...good, kind: "reduceScatter", counts: [1, 2] },
      /counts: expected 2 whole numbers, .* of together 2 elements, got \[1, 2\]/,
    ],
    [
      "a root that is no rank",
      { ...good, kind: "broadcast", root: 2 },
      /root: expected a rank from 0 to 1, got 2/,
    ],
  ])("%s; the next call works", async (_, call, message) => {
    const [refused, next] = await outcomesOf(2, [call, good]);
    for (const { error } of refused!) expect(error).toMatch(message);
    for (const { values } of next!) expect(flat(values)).toEqual([4, 6]);
  });

  it.each<[string, TreeOptions, RegExp]>([
    [
      "orders that differ",
      { order: "library" },
      /order tree, .* on rank 0, .* order library, .* on rank 1/,
    ],
    [
      "blocks that differ",
      { blockElements: 1 },
      /blocks of 262144\) on rank 0, .* blocks of 1\) on rank 1/,
    ],
  ])("%s, in every call", async (_, options, message) => {
    const calls: Call[] = [good, { ...good, kind: "allGather" }, { ...good, kind: "barrier" }];
    const outcomes = await outcomesOf(2, calls, [{}, options]);
    for (const { error } of outcomes.flat()) expect(error).toMatch(message);
  });

  it("3 ranks sum in the library's order, whatever they ask for", async () => {
    const call = { ...good, values: [[[1]], [[2]], [[3]]] };
    const [all] = await outcomesOf(3, [call], [{}, { order: "library" }, { order: "tree" }]);
    for (const { error, values } of all!) expect([error, flat(values)]).toEqual([null, [6]]);
  });
});

it(
  "10,000 arrays of 1 to 3 elements travel in few messages",
  async () => {
    const values = Array.from({ length: 2 }, (_, rank) =>
      Array.from({ length: 10_000 }, (_, index) => new Array<number>(1 + (index % 3)).fill(rank)),
    );
    const call = { kind: "allReduce", type: "Float32Array", values, counts: [], root: 0 } as const;
    const [all] = await outcomesOf(2, [call], {});
    for (const { values: sum, messages } of all!) {
      expect(flat(sum).every((value) => value === 1)).toBe(true);
      // Two of the comparison, one each of halving and doubling.
      expect(messages).toBe(4);
    }
  },
  TIMEOUT_MS,
);
