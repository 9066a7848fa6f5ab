/**
 * Runs, searches and sweeps that are killed at random moments, and resumed, end as if they had not been.
 *
 * LAYERWISE_KILLS sets how many kills there are, over all kinds of work; LAYERWISE_SEED repeats their moments, as far
 * as a busy machine can.
 */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Random } from "../src/random.js";
import { runCli, startCli } from "./helpers/cli.js";
import { csvText, temporaryFolder, writeFiles } from "./helpers/data.js";
import { checkpointHashes, leftovers, metricsOf, withoutTimes } from "./helpers/folders.js";

const KILLS = Number(process.env.LAYERWISE_KILLS ?? 12);
const SEED = Number(process.env.LAYERWISE_SEED ?? Date.now() % 1_000_000);
/** So that some runs are killed once and others again and again. */
const MOST_KILLS_OF_A_RUN = 5;

const temporary = temporaryFolder();
afterAll(temporary.remove);
writeFiles(temporary.path, { "points.csv": csvText() });
const data = ["--data", join(temporary.path, "points.csv"), "--label", "kind", "--hidden", "8"];

interface Work {
  /** The command that a run begins with, and with --resume goes on. */
  command: readonly string[];
  options: readonly string[];
  configFile: string;
  /** All that must not differ. */
  result(folder: string): unknown;
}

function readJson(file: string): unknown {
  return withoutTimes(JSON.parse(readFileSync(file, "utf8")));
}

function resultOfRun(folder: string): unknown {
  const search = join(folder, "search.json");
  return {
    files: readdirSync(folder, { recursive: true }).sort(),
    config: readJson(join(folder, "config.json")),
    search: existsSync(search) ? readJson(search) : null,
    metrics: metricsOf(folder),
    checkpoints: checkpointHashes(folder),
  };
}

function resultOfSweep(folder: string): unknown {
  const results = readFileSync(join(folder, "results.jsonl"), "utf8").trim().split("\n");
  return {
    files: readdirSync(folder).sort(),
    config: readJson(join(folder, "sweep.json")),
    // Cells end in any order.
    results: results.map((line) => JSON.stringify(withoutTimes(JSON.parse(line)))).sort(),
    summary: readJson(join(folder, "summary.json")),
  };
}

const train: Work = {
  command: [],
  options: [...data, "--optimizer", "lars8bit,adamw", "--lr", "0.1", "--epochs", "25"],
  configFile: "config.json",
  result: resultOfRun,
};
const search: Work = {
  ...train,
  options: [...data, "--optimizer", "sgd,lars8bit", "--lr", "auto", "--epochs", "20"],
};
const sweep: Work = {
  command: ["sweep"],
  options: [
    ...[...data, "--optimizer", "sgd,lars8bit", "--batch-size", "60", "--epochs", "4"],
    ...["--lr", "sgd=0.1,0.3", "--lr", "lars8bit=auto", "--seeds", "1,2", "--jobs", "2"],
  ],
  configFile: "sweep.json",
  result: resultOfSweep,
};
const WORKS: Record<string, Work> = { train, search, sweep };

/** The next process of some work: it begins, or goes on. */
function argumentsOf({ command, options, configFile }: Work, folder: string): string[] {
  const isThere = existsSync(join(folder, configFile));
  return [...command, ...(isThere ? ["--resume", folder] : [...options, "--out", folder])];
}

/** Starts a process and kills it after a while. Returns false when it ended before. */
async function kill(args: readonly string[], delay: number): Promise<boolean> {
  const { child, outcome } = startCli(args);
  const timer = setTimeout(() => child.kill("SIGKILL"), delay);
  const { code, signal, stderr } = await outcome;
  clearTimeout(timer);
  if (signal === "SIGKILL") return true;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return false;
}

test.each(Object.entries(WORKS))(
  `${KILLS} kills, seed ${SEED}: %s`,
  { timeout: 60_000 + 20_000 * KILLS },
  async (name, work) => {
    const random = new Random(SEED, Object.keys(WORKS).indexOf(name));
    const whole = join(temporary.path, name);
    const started = performance.now();
    expect(await runCli(argumentsOf(work, whole))).toMatchObject({ code: 0, stderr: "" });
    const duration = performance.now() - started;
    const expected = work.result(whole);
    expect(leftovers(whole)).toEqual([]);

    const wanted = Math.ceil(KILLS / Object.keys(WORKS).length);
    let kills = 0;
    for (let run = 1; kills < wanted; run++) {
      const folder = join(temporary.path, `${name}${run}`);
      for (let own = 0; own < MOST_KILLS_OF_A_RUN && kills < wanted; own++) {
        const delay = ((random.uniform(1) + 1) / 2) * duration;
        if (!(await kill(argumentsOf(work, folder), delay))) break;
        kills++;
      }
      expect(await runCli(argumentsOf(work, folder))).toMatchObject({ code: 0, stderr: "" });
      expect(work.result(folder)).toEqual(expected);
      expect(leftovers(folder)).toEqual([]);
    }
    console.log(`${name}: ${kills} kills, seed ${SEED}`);
  },
);
