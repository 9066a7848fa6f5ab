/** Six processes at once in one folder: one trains, the others are refused, and nothing is mixed. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { runCli, startCli, until } from "./helpers/cli.js";
import type { Outcome } from "./helpers/cli.js";
import { csvText, temporaryFolder, writeFiles } from "./helpers/data.js";
import { checkpointHashes, leftovers, metricsOf, withoutTimes } from "./helpers/folders.js";

const PROCESSES = [1, 2, 3, 4, 5, 6];
const TIMEOUT = 180_000;

const temporary = temporaryFolder();
afterAll(temporary.remove);
writeFiles(temporary.path, { "points.csv": csvText() });
const data = ["--data", join(temporary.path, "points.csv"), "--label", "kind", "--hidden", "8"];
const common = [...data, "--optimizer", "sgd", "--workers", "1"];
/** Long enough for the last process to begin before the first has ended. */
const train = [...common, "--lr", "0.1", "--epochs", "120"];
const inTemporary = (name: string): string => join(temporary.path, name);

/** Runs them at once, and returns the number of the one that was not refused. */
async function winnerOf(argumentsOf: (process: number) => readonly string[]): Promise<number> {
  const outcomes = await Promise.all(PROCESSES.map((process) => runCli(argumentsOf(process))));
  const winners = PROCESSES.filter((_, index) => outcomes[index]!.code === 0);
  for (const outcome of outcomes.filter(({ code }) => code !== 0)) expectRefused(outcome);
  expect(winners).toHaveLength(1);
  return winners[0]!;
}

function expectRefused({ code, stdout, stderr }: Outcome): void {
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(
    /^layerwise-train: .*(expected a folder that no other process uses|which already holds a run).*\n$/,
  );
}

test("new runs", { timeout: TIMEOUT }, async () => {
  const folder = inTemporary("run");
  const options = (seed: number): string[] => [...train, "--seed", String(seed)];
  const seed = await winnerOf((process) => [...options(process), "--out", folder]);
  const alone = inTemporary("alone");
  expect(await runCli([...options(seed), "--out", alone])).toMatchObject({ code: 0 });
  const config = (path: string): string => readFileSync(join(path, "config.json"), "utf8");
  expect(config(folder)).toBe(config(alone));
  expect(metricsOf(folder)).toEqual(metricsOf(alone));
  expect(checkpointHashes(folder)).toEqual(checkpointHashes(alone));
  expect(leftovers(folder)).toEqual([]);
});

test("a run that was killed", { timeout: TIMEOUT }, async () => {
  const folder = inTemporary("killed");
  const options = [...train, "--seed", "1"];
  const { child, outcome } = startCli([...options, "--out", folder]);
  const metrics = join(folder, "metrics.jsonl");
  await until(
    () => (existsSync(metrics) && readFileSync(metrics).length > 0) || child.exitCode !== null,
  );
  child.kill("SIGKILL");
  expect(await outcome).toMatchObject({ signal: "SIGKILL" });
  expect(leftovers(folder)).toContain("lock");
  await winnerOf(() => ["--resume", folder]);
  const whole = inTemporary("whole");
  expect(await runCli([...options, "--out", whole])).toMatchObject({ code: 0 });
  expect(metricsOf(folder)).toEqual(metricsOf(whole));
  expect(checkpointHashes(folder)).toEqual(checkpointHashes(whole));
  expect(leftovers(folder)).toEqual([]);
});

test("sweeps", { timeout: TIMEOUT }, async () => {
  const folder = inTemporary("sweep");
  const options = (process: number): string[] => [
    ...["sweep", ...data, "--optimizer", "sgd", "--batch-size", "60", "--epochs", "20"],
    // One rate each, which tells whose results they are.
    ...["--lr", `0.0${process},0.${process}`, "--jobs", "1"],
  ];
  const winner = await winnerOf((process) => [...options(process), "--out", folder]);
  const alone = inTemporary("sweep-alone");
  expect(await runCli([...options(winner), "--out", alone])).toMatchObject({ code: 0 });
  const results = (path: string): unknown[] =>
    readFileSync(join(path, "results.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => withoutTimes(JSON.parse(line)));
  expect(results(folder)).toEqual(results(alone));
  expect(leftovers(folder)).toEqual([]);
});
