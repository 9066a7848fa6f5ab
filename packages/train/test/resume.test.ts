/** A run that is killed and resumed ends with the bits of one that was not. */
import { appendFileSync, existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readMetrics } from "../src/metrics.js";
import { runCli, startCli, until } from "./helpers/cli.js";
import { idxFiles, temporaryFolder, writeFiles } from "./helpers/data.js";

const temporary = temporaryFolder();
afterAll(temporary.remove);
const data = writeFiles(join(temporary.path, "data"), idxFiles());
const EPOCHS = 12;
const options = [
  ...["--data", data, "--hidden", "32", "--batch-size", "64", "--micro-batch", "32"],
  ...["--epochs", String(EPOCHS), "--optimizer", "lars8bit,sgd", "--percentile-clipping", "60"],
  ...["--workers", "1"],
];
const whole = join(temporary.path, "whole");

beforeAll(async () => {
  expect(await runCli([...options, "--out", whole])).toMatchObject({ code: 0 });
});

/** Steps and epochs that are written down. */
function lineCount(folder: string): number {
  const file = join(folder, "metrics.jsonl");
  return existsSync(file) ? readFileSync(file, "utf8").split("\n").length - 1 : 0;
}

/** Starts a command and kills it when there are so many lines. Returns false when it ended before. */
async function killAt(lines: number, folder: string, args: readonly string[]): Promise<boolean> {
  const { child, outcome } = startCli(args);
  await until(() => lineCount(folder) >= lines || child.exitCode !== null);
  child.kill("SIGKILL");
  return (await outcome).signal === "SIGKILL";
}

/** Everything but times, which differ from run to run. */
function withoutTimes(folder: string): unknown[] {
  const times = ["gradientMs", "optimizerMs", "seconds", "samplesPerSecond"];
  return [...readMetrics(join(folder, "metrics.jsonl"))].map((line) =>
    Object.fromEntries(Object.entries(line).filter(([name]) => !times.includes(name))),
  );
}

function expectSame(folder: string): void {
  expect(withoutTimes(folder)).toEqual(withoutTimes(whole));
  for (const name of ["lars8bit", "sgd"]) {
    const file = join("checkpoints", `${name}.safetensors`);
    const [resumed, expected] = [folder, whole].map((run) => readCheckpoint(join(run, file)));
    expect(resumed!.equals(expected!)).toBe(true);
  }
  expect(readdirSync(folder).sort()).toEqual(readdirSync(whole).sort());
}

/** A checkpoint's bytes; the length of metrics.jsonl is in them, with its times of differing lengths. */
function readCheckpoint(file: string): Buffer {
  const bytes = readFileSync(file);
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + headerLength).toString()) as {
    __metadata__: Record<string, string>;
  };
  expect(Number(header.__metadata__.metricsBytes)).toBeGreaterThan(0);
  delete header.__metadata__.metricsBytes;
  return Buffer.concat([Buffer.from(JSON.stringify(header)), bytes.subarray(8 + headerLength)]);
}

test("kill -9 in an epoch of the first optimizer, and twice in the second", async () => {
  const folder = join(temporary.path, "killed");
  // An epoch is 5 lines: 4 steps and the epoch itself.
  const perOptimizer = 5 * EPOCHS;
  expect(await killAt(17, folder, [...options, "--out", folder])).toBe(true);
  expect(await killAt(perOptimizer + 2, folder, ["--resume", folder])).toBe(true);
  expect(await killAt(perOptimizer + 23, folder, ["--resume", folder])).toBe(true);
  expect(lineCount(folder)).toBeLessThan(2 * perOptimizer);
  expect(await runCli(["--resume", folder])).toMatchObject({ code: 0, stderr: "" });
  expectSame(folder);
});

test("a kill in the middle of writing metrics and a checkpoint", async () => {
  const folder = join(temporary.path, "torn");
  expect(await killAt(12, folder, [...options, "--out", folder])).toBe(true);
  const metrics = join(folder, "metrics.jsonl");
  appendFileSync(metrics, readFileSync(metrics, "utf8").slice(0, 100));
  const checkpoint = join(folder, "checkpoints", "lars8bit.safetensors");
  writeFileSync(`${checkpoint}.partial`, readFileSync(checkpoint).subarray(0, 1000));
  expect(await runCli(["--resume", folder])).toMatchObject({ code: 0, stderr: "" });
  expectSame(folder);
});

test("a kill before the first checkpoint", async () => {
  const folder = join(temporary.path, "early");
  expect(await killAt(1, folder, [...options, "--out", folder])).toBe(true);
  expect(await runCli(["--resume", folder])).toMatchObject({ code: 0, stderr: "" });
  expectSame(folder);
});

test("one process at a time trains in a folder; the lock of a killed one is taken over", async () => {
  const folder = join(temporary.path, "twice");
  const args = ["--resume", folder];
  // Long enough to be there still when the second process asks.
  const { child, outcome } = startCli([...options, "--epochs", "2000", "--out", folder]);
  await until(() => lineCount(folder) >= 1 || child.exitCode !== null);
  const second = await runCli(args);
  child.kill("SIGKILL");
  expect((await outcome).signal).toBe("SIGKILL");
  expect(second).toMatchObject({ code: 2, stdout: "" });
  expect(second.stderr).toContain(`got one that process ${String(child.pid)} on `);
  const lines = lineCount(folder);
  expect(await killAt(lines + 3, folder, args)).toBe(true);
});

test("a checkpoint that is damaged is refused, and so is one of another model", async () => {
  const folder = join(temporary.path, "damaged");
  expect(await killAt(12, folder, [...options, "--out", folder])).toBe(true);
  const checkpoint = join(folder, "checkpoints", "lars8bit.safetensors");
  const bytes = readFileSync(checkpoint);
  writeFileSync(checkpoint, bytes.subarray(0, bytes.length - 10));
  const cut = await runCli(["--resume", folder]);
  expect(cut).toMatchObject({ code: 2 });
  expect(cut.stderr).toContain("lars8bit.safetensors: ");

  const other = join(temporary.path, "other");
  const args = options.map((option) => (option === "32" ? "40" : option));
  expect(await runCli([...args, "--epochs", "1", "--out", other])).toMatchObject({ code: 0 });
  writeFileSync(checkpoint, readFileSync(join(other, "checkpoints", "lars8bit.safetensors")));
  writeFileSync(join(folder, "metrics.jsonl"), readFileSync(join(other, "metrics.jsonl")));
  const wrong = await runCli(["--resume", folder]);
  expect(wrong).toMatchObject({ code: 2 });
  expect(wrong.stderr).toContain(
    "lars8bit.safetensors: dense1/kernel: expected 4608 weights, got 5760",
  );
});
