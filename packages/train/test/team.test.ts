/** Training on several processes, which are threads here: the same bits for any number of them. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { coresOf } from "../src/distributed/cores.js";
import { csvText, idxFiles, temporaryFolder, writeFiles } from "./helpers/data.js";
import { checkpointHashes, metricsOf, withoutTimes } from "./helpers/folders.js";
import { teamThreads } from "./helpers/team-threads.js";
import type { RankOutcome, TeamThreads } from "./helpers/team-threads.js";

const temporary = temporaryFolder();
const inTemporary = (name: string): string => join(temporary.path, name);
writeFiles(temporary.path, { "points.csv": csvText() });
const images = writeFiles(inTemporary("images"), idxFiles());
// Up to eight processes of threads share the cores of the machine.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
let threads: TeamThreads;
beforeAll(async () => {
  threads = await teamThreads();
});
afterAll(() => {
  threads.remove();
  temporary.remove();
});

/** 120 training rows in batches of 50: two of 4 micro-batches, one of 12, the last of 20 samples with 2. */
const table = {
  data: inTemporary("points.csv"),
  label: "kind",
  hidden: "12",
  batchSize: "50",
  microBatch: "13",
  epochs: "2",
};

function expectNoErrors(outcomes: readonly RankOutcome[]): void {
  expect(outcomes.map(({ error }) => error)).toEqual(outcomes.map(() => null));
}

describe("the same bits", () => {
  test("for 1, 2, 4 and 8 processes, with an unequal last batch and more processes than micro-batches", async () => {
    const options = { ...table, optimizer: "lars8bit,sgd-nesterov,adamw", lr: "0.05" };
    const results = [];
    for (const size of [1, 2, 4, 8]) {
      const out = inTemporary(`same-${size}`);
      const outcomes = await threads.run(size, { options, out });
      expectNoErrors(outcomes);
      results.push({ hashes: checkpointHashes(out), metrics: metricsOf(out).map(withoutTimes) });
      expect(outcomes.slice(1).map(({ stdout }) => stdout)).toEqual(
        outcomes.slice(1).map(() => ""),
      );
      expect(outcomes[0]!.stdout).toMatch(/adamw .*test accuracy/);
      if (size > 1) expect(outcomes[0]!.stdout).toContain(`processes: ${size} (threads), with 1`);
    }
    for (const result of results) expect(result).toEqual(results[0]);
  });

  test("of a search, whose trials run one at a time", async () => {
    const options = { ...table, optimizer: "sgd+clip", epochs: "3" };
    const results = [];
    for (const [size, workers] of [
      [1, 3],
      [2, 2],
      [4, 1],
    ] as const) {
      const out = inTemporary(`search-${size}`);
      expectNoErrors(await threads.run(size, { options, out, workers }));
      const search = JSON.parse(readFileSync(join(out, "search.json"), "utf8")) as {
        searches: { chosen: unknown; trials: object[] }[];
      };
      const [{ chosen, trials } = { chosen: null, trials: [] }] = search.searches;
      const texts = trials.map((trial) => JSON.stringify(trial)).toSorted();
      results.push({ chosen, texts, hashes: checkpointHashes(out) });
    }
    for (const result of results) expect(result).toEqual(results[0]);
  });

  test("three processes train too, and say that bits differ", async () => {
    const out = inTemporary("three");
    const outcomes = await threads.run(3, {
      options: { ...table, optimizer: "sgd", lr: "0.05" },
      out,
    });
    expectNoErrors(outcomes);
    expect(outcomes[0]!.stdout).toContain("note: 3 is not a power of two");
  });
});

test("a run that was stopped goes on with another number of processes: the same bits", async () => {
  const options = { ...table, optimizer: "lars8bit,sgd", lr: "0.05" };
  const whole = inTemporary("whole");
  expectNoErrors(await threads.run(1, { options, out: whole }));
  const parts = inTemporary("parts");
  // A run whose second optimizer has not begun, as a kill between two checkpoints leaves it.
  expectNoErrors(
    await threads.run(4, { options: { ...options, optimizer: "lars8bit" }, out: parts }),
  );
  const config = JSON.parse(readFileSync(join(parts, "config.json"), "utf8")) as {
    options: { optimizer: string[] };
    settings: Record<string, object>;
  };
  config.options.optimizer.push("sgd");
  config.settings.sgd = config.settings.lars8bit!;
  writeFileSync(join(parts, "config.json"), JSON.stringify(config));
  expectNoErrors(await threads.run(2, { out: parts, resume: true }));
  expect(checkpointHashes(parts)).toEqual(checkpointHashes(whole));
  const before = readFileSync(join(parts, "metrics.jsonl"));
  expectNoErrors(await threads.run(8, { out: parts, resume: true }));
  expect(readFileSync(join(parts, "metrics.jsonl"))).toEqual(before);
});

describe("what all processes are told", () => {
  test("a loss that is not finite: every process goes on to the next optimizer", async () => {
    const out = inTemporary("diverges");
    const options = { ...table, data: images, label: undefined, optimizer: "sgd,lars" };
    const outcomes = await threads.run(2, { options: { ...options, lr: "1e30" }, out });
    for (const { error } of outcomes) {
      expect(error).toMatchObject({ name: "TrainingError", shared: true });
    }
    expect(outcomes[0]!.error!.message).toBe(outcomes[1]!.error!.message);
  });

  test("a folder that is not empty, with nothing written", async () => {
    const out = writeFiles(inTemporary("full"), { "notes.txt": "mine" });
    const outcomes = await threads.run(2, {
      options: { ...table, optimizer: "sgd", lr: "1" },
      out,
    });
    for (const { error } of outcomes) {
      expect(error).toMatchObject({ name: "UsageError", shared: true });
      expect(error!.message).toContain("--out: expected a new or empty folder");
    }
    expect(existsSync(join(out, "config.json"))).toBe(false);
  });

  test("other options, other data or a wrong option on one rank", async () => {
    const options = { ...table, optimizer: "sgd", lr: "1" };
    writeFiles(temporary.path, { "other.csv": csvText(140) });
    const cases = [
      [{ ...options, seed: "2" }, /data: expected fingerprint .* as on rank 0/],
      [{ ...options, lr: "2" }, /run: expected options .*, as on rank 0/],
      [{ ...options, data: inTemporary("other.csv") }, /expected fingerprint/],
      [{ ...options, lr: "fast" }, /rank 1: --lr: expected a number > 0, got "fast"/],
      [{ ...options, data: inTemporary("none.csv") }, /rank 1: --data: .* does not exist/],
    ] as const;
    for (const [index, [other, message]] of cases.entries()) {
      const out = inTemporary(`other-${index}`);
      const outcomes = await threads.run(2, { optionsOf: [options, other], out });
      for (const { error } of outcomes) {
        expect(error).toMatchObject({ name: "UsageError", shared: true });
        expect(error!.message).toMatch(message);
      }
      expect(existsSync(out)).toBe(false);
    }
  });

  test("a checkpoint that is damaged", async () => {
    const out = inTemporary("damaged");
    const options = { ...table, optimizer: "sgd", lr: "0.05" };
    expectNoErrors(await threads.run(1, { options, out }));
    writeFileSync(join(out, "checkpoints", "sgd.safetensors"), "no checkpoint");
    const outcomes = await threads.run(2, { out, resume: true });
    for (const { error } of outcomes) {
      expect(error).toMatchObject({ name: "UsageError", shared: true });
      expect(error!.message).toContain("sgd.safetensors: expected a checkpoint of this run");
    }
  });
});

test("cores by the kernel's list", () => {
  expect(coresOf("0-3,8")).toEqual([0, 1, 2, 3, 8]);
  expect(coresOf("5")).toEqual([5]);
});
