/** What sharded optimizers do in single situations, on two threads: faults of one process, told to all. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { ranksOf } from "./ranks/run-on-ranks.js";
import type { Ranks } from "./ranks/run-on-ranks.js";
import type { ScenarioName, scenarios } from "./sharded/scenarios.js";

type Result<Name extends ScenarioName> = ReturnType<(typeof scenarios)[Name]>;

const TIMEOUT_MS = 120_000;

let ranks: Ranks<ScenarioName, unknown>;
beforeAll(async () => {
  ranks = await ranksOf(new URL("sharded/scenarios.ts", import.meta.url));
}, TIMEOUT_MS);
afterAll(() => ranks.dispose());

async function resultsOf<Name extends ScenarioName>(name: Name): Promise<Result<Name>[]> {
  return (await ranks.run(2, name)) as Result<Name>[];
}

/** The result of both ranks, which is the same. */
async function resultOf<Name extends ScenarioName>(name: Name): Promise<Result<Name>> {
  const [first, second] = await resultsOf(name);
  expect(second).toEqual(first);
  return first!;
}

const containing = (text: string): unknown => expect.stringContaining(text);

it(
  "saves the whole state although a parameter is gone on one rank",
  async () => {
    const { before, after, step } = await resultOf("disposedParameter");
    expect(after).toEqual(before);
    expect(step).toContain('rank 1: layer "gone": data: expected');
  },
  TIMEOUT_MS,
);

it(
  "refuses states that differ from rank to rank, and loads nothing of them",
  async () => {
    const { errors, before, after } = await resultOf("differentStates");
    expect(errors).toEqual([
      containing('rank 1: state of layer "layer 1": expected checksum '),
      containing("rank 1: state: expected steps 1, as on rank 0, got 2"),
      containing("rank 1: state: expected "),
    ]);
    expect(after).toEqual(before);
  },
  TIMEOUT_MS,
);

it(
  "refuses weights that differ from rank to rank: in the first step, after a load, and every n steps",
  async () => {
    const different = containing('rank 1: layer "layer 1": expected weights of checksum ');
    // After the load a step; then those with numbers 0 and 2 of every two are checked.
    expect(await resultOf("differentWeights")).toEqual([
      ...[different, null],
      ...[different, null],
      ...[null, null],
      ...[different, different],
    ]);
  },
  TIMEOUT_MS,
);

it(
  "adds a group on all ranks or on none",
  async () => {
    const { errors, groups, layers } = await resultOf("refusedGroups");
    expect(errors).toEqual([
      containing("rank 1: lr: expected"),
      containing("rank 1: group 1: expected lr 0.5, as on rank 0, got 0.25"),
      containing('rank 1: layer "layer 0": expected shape [9], as on rank 0, got [8]'),
      containing("rank 1: params: expected each parameter once"),
      null,
      null,
    ]);
    expect(groups).toBe(1);
    expect(layers).toEqual(["layer 0", "layer 1", "layer 2", "layer 0"]);
  },
  TIMEOUT_MS,
);

it("takes layers from lists that can be read once", async () => {
  expect(await resultOf("listsReadOnce")).toBe(2);
});

it("refuses layers over one array: each has a place of its own", async () => {
  expect(await resultOf("sharedArray")).toContain(
    'params: expected an array of its own for each layer, got one for "a" and "b"',
  );
});

it("refuses options that one rank has wrong, on all", async () => {
  expect(await resultOf("wrongOptions")).toEqual([
    containing('rank 1: ShardedLARS: gradients: expected "mean" or "sum", got "max"'),
    containing("rank 1: threads: expected"),
    containing("rank 1: ShardedLARS: options: "),
    containing("rank 1: ShardedLARS: checkEvery: expected"),
  ]);
});

it("refuses options and shapes that differ, by name", async () => {
  expect(await resultOf("differentOptions")).toEqual([
    containing('rank 1: ShardedLARS: expected gradients "mean", as on rank 0, got "sum"'),
    containing("rank 1: momentum: expected"),
    containing("rank 1: group 0: expected nesterov false, as on rank 0, got true"),
    containing('rank 1: layer "layer 1": expected shape [100000], as on rank 0, got [99999]'),
  ]);
});

it("ends the job when one rank has no memory in the middle of a step", async () => {
  const errors = await resultsOf("fullMemory");
  expect(errors[0]).toContain("aborted by another rank");
  expect(errors[1]).toContain("aborted: rank 1: the step failed: RangeError: Array buffer alloc");
});

it("ends the job when one rank has no memory for a state that another has loaded", async () => {
  const errors = await resultsOf("fullMemoryForState");
  expect(errors).toEqual([
    "Error: aborted: rank 0: loading a state failed: RangeError: rank 1: Array buffer allocation failed",
    "RangeError: rank 1: Array buffer allocation failed",
  ]);
});
