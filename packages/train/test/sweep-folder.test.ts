/** The folder of a sweep: results that are missing, data that has changed, files that are damaged. */
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runCli, startCli, until } from "./helpers/cli.js";
import { csvText, temporaryFolder, writeFiles } from "./helpers/data.js";
import { leftovers } from "./helpers/folders.js";
import { childrenOf, running } from "./helpers/processes.js";

const temporary = temporaryFolder();
afterAll(temporary.remove);
writeFiles(temporary.path, { "points.csv": csvText() });
const table = join(temporary.path, "points.csv");
const options = [
  ...["sweep", "--data", table, "--label", "kind", "--hidden", "8", "--optimizer", "sgd"],
  ...["--batch-size", "60", "--lr", "0.1,0.2", "--epochs", "3"],
];
const whole = join(temporary.path, "whole");
beforeAll(async () => {
  expect(await runCli([...options, "--out", whole])).toMatchObject({ code: 0, stderr: "" });
});

let folders = 0;
function copy(): string {
  const folder = join(temporary.path, `copy${++folders}`);
  cpSync(whole, folder, { recursive: true });
  return folder;
}

function resultCount(folder: string): number {
  return readFileSync(join(folder, "results.jsonl"), "utf8").trim().split("\n").length;
}

test("a cell without a result is told, with exit code 1, and tried again", async () => {
  const folder = join(temporary.path, "killed");
  const { child, outcome } = startCli([...options, "--jobs", "1", "--out", folder]);
  let cells: number[] = [];
  await until(() => (cells = childrenOf(child.pid!)).length > 0 || child.exitCode !== null);
  process.kill(cells[0]!, "SIGKILL");
  const { code, stderr } = await outcome;
  expect(code).toBe(1);
  expect(stderr).toMatch(
    /^sgd-batch60-lr0\.1-seed1-held-out: expected a result, got SIGKILL\n1 cell has no result; try again with: layerwise-train sweep --resume \S+\n$/,
  );
  // The other rate has its result; the best of both is not known.
  expect(resultCount(folder)).toBe(1);
  expect(running(cells)).toEqual([]);
  expect(await runCli(["sweep", "--resume", folder])).toMatchObject({ code: 0, stderr: "" });
  expect(resultCount(folder)).toBe(resultCount(whole));
  expect(leftovers(folder)).toEqual([]);
});

test("data that has changed is refused", async () => {
  const folder = copy();
  const text = readFileSync(table, "utf8");
  writeFileSync(table, text.replace(/\n[^\n]+\n$/, "\n"));
  try {
    const outcome = await runCli(["sweep", "--resume", folder]);
    expect(outcome).toMatchObject({ code: 2, stdout: "" });
    expect(outcome.stderr).toBe(
      `layerwise-train: --resume: expected the data that ${folder} was started with, got other values in ${table}\n`,
    );
  } finally {
    writeFileSync(table, text);
  }
});

describe("a damaged file is refused: exit code 2", () => {
  test.each(["sweep.json", "results.jsonl"])("%s", async (name) => {
    const folder = copy();
    const file = join(folder, name);
    for (const content of [
      "\n",
      "{\n",
      "[1]\n",
      '{"format":"other"}\n',
      "\u0000\u00ff\n".repeat(1000),
    ]) {
      writeFileSync(file, content);
      const outcome = await runCli(["sweep", "--resume", folder]);
      expect(outcome.code).toBe(2);
      expect(outcome.stderr).toMatch(/^layerwise-train: [^\n]+\n$/);
      expect(outcome.stderr).toContain(file);
    }
  });

  test("no sweep.json", async () => {
    const folder = copy();
    rmSync(join(folder, "sweep.json"));
    const outcome = await runCli(["sweep", "--resume", folder]);
    expect(outcome).toMatchObject({ code: 2, stdout: "" });
    expect(outcome.stderr).toContain("--resume: expected the folder of a sweep");
  });
});
