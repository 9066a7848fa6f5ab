/** What DataParallel does in single situations, on two threads. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DataParallel } from "../../src/distributed/data-parallel.js";
import { localCollective } from "../../src/distributed/local.js";
import { LARS } from "../../src/index.js";
import {
  expectSameSnapshot,
  gradientAt,
  randomParameters,
  snapshotOf,
} from "../helpers/problem.js";
import type { ScenarioName, scenarios } from "./data-parallel/scenarios.js";
import { ranksOf } from "./ranks/run-on-ranks.js";
import type { Ranks } from "./ranks/run-on-ranks.js";

type Result<Name extends ScenarioName> = ReturnType<(typeof scenarios)[Name]>;

let ranks: Ranks<ScenarioName, unknown>;

beforeAll(async () => {
  ranks = await ranksOf(new URL("data-parallel/scenarios.ts", import.meta.url));
});

afterAll(() => ranks.dispose());

async function resultsOf<Name extends ScenarioName>(name: Name): Promise<Result<Name>[]> {
  return (await ranks.run(2, name)) as Result<Name>[];
}

describe("DataParallel", () => {
  it("makes three calls a step if there is one bucket", async () => {
    const calls = ["allGather", "allReduce", "allGather"];
    expect(await resultsOf("callsOfAStep")).toEqual([calls, calls]);
  });

  it("sums buckets as soon as their gradients and those of later layers are there", async () => {
    const counts = [0, 2, 3, 3];
    expect(await resultsOf("earlySums")).toEqual([counts, counts]);
  });

  it("refuses a second gradient of a layer that is summed, until step() or zeroGrad()", async () => {
    const second = expect.stringContaining(
      'Error: gradientReady: layer "layer 1": expected step() before its next gradient',
    );
    const errors = [null, null, null, second, null, null];
    expect(await resultsOf("announcedTwice")).toEqual([errors, errors]);
  });

  it("refuses another optimizer's parameter", async () => {
    const error =
      "TypeError: gradientReady: expected a parameter of the optimizer, got one of none of its groups";
    expect(await resultsOf("stranger")).toEqual([error, error]);
  });

  it("gives a layer without gradient the others', for the time of the step, and adds nothing", async () => {
    const weights = [0, -3, -4];
    // −0: with a 0 from rank 0 the sum would be 0.
    expect(await resultsOf("borrowedGradient")).toEqual([
      { grad: null, weights },
      { grad: [-0, 2, 3], weights },
    ]);
  });

  it("finds weights that differ at the next comparison", async () => {
    const [first, second] = await resultsOf("lateDifference");
    expect(first!.steps).toBe(6);
    expect(first!.error).toMatch(
      /^Error: weights after step 6: expected the same bits on all ranks, got checksums [0-9a-f]{8} on rank 0, [0-9a-f]{8} on rank 1$/,
    );
    expect(second).toEqual(first);
  });

  it("goes on everywhere from what rank 0 alone has loaded", async () => {
    expect(await resultsOf("ratesAfterLoading")).toEqual([
      [0.6, 0.7],
      [0.6, 0.7],
    ]);
  });

  it("ends the job if one rank fails in the middle of a step", async () => {
    const [first, second] = await resultsOf("fullMemory");
    expect(first).toBeNull();
    expect(second).toBe(
      "Error: aborted: rank 1: the step failed: RangeError: Array buffer allocation failed",
    );
  });

  it("ends the job if one rank has no memory for the others' gradient", async () => {
    expect(await resultsOf("noMemoryToBorrow")).toEqual([
      "Error: aborted by another rank",
      'Error: aborted: rank 1: layer "embedding": no memory for a gradient of 12345 elements (RangeError: Array buffer allocation failed)',
    ]);
  });

  it("refuses gradScale that is wrong on one rank, or differs, and goes on", async () => {
    const errors = [
      "RangeError: rank 1: gradScale: expected a finite number > 0, got 0",
      "Error: rank 1: step: expected gradScale 1, as on rank 0, got 0.5",
      null,
    ];
    expect(await resultsOf("stepOptions")).toEqual([errors, errors]);
  });
});

describe("DataParallel of a process alone", () => {
  it("makes the optimizer's own steps", () => {
    const options = { lr: 0.1, momentum: 0.9, weightDecay: 1e-4 };
    const [params, twins] = [randomParameters(), randomParameters()];
    const optimizer = new LARS(params, options, { threads: 1 });
    const twin = new LARS(twins, options, { threads: 1 });
    const parallel = new DataParallel(optimizer, localCollective(), { checkEvery: 1 });
    for (let step = 0; step < 5; step++) {
      [...params, ...twins].forEach((parameter, index) => {
        parameter.grad = gradientAt(step, index % params.length, parameter.size);
      });
      expect(parallel.step()).toEqual(twin.step());
    }
    expectSameSnapshot(snapshotOf(optimizer, params), snapshotOf(twin, twins));
  });
});
