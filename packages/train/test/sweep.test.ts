/** Sweeps: the grid, the best rates, cells that diverge, and going on after a kill. */
import { appendFileSync, existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { BestRate, CellResult } from "../src/sweep/cells.js";
import { bestRates, gridCells, repeatedCells } from "../src/sweep/cells.js";
import { checkSavedSweep, checkSweepOptions } from "../src/sweep/sweep-options.js";
import { runCli, startCli, until } from "./helpers/cli.js";
import { csvText, temporaryFolder, writeFiles } from "./helpers/data.js";

const temporary = temporaryFolder();
afterAll(temporary.remove);
writeFiles(temporary.path, { "points.csv": csvText() });
const data = ["--data", join(temporary.path, "points.csv"), "--label", "kind", "--hidden", "8"];

describe("the command", () => {
  const folder = join(temporary.path, "sweep");
  const grid = ["--optimizer", "sgd,lars8bit", "--batch-size", "40,60", "--seeds", "1,2"];
  const rates = ["--lr", "sgd=0.2,1e30", "--lr", "lars8bit=2"];
  const recorded = (): string[] =>
    existsSync(join(folder, "results.jsonl"))
      ? readFileSync(join(folder, "results.jsonl"), "utf8").split("\n").slice(0, -1)
      : [];

  test("goes on after kill -9, records every cell once, and stops the cells that ran", async () => {
    const args = ["sweep", ...data, ...grid, ...rates, "--epochs", "3", "--out", folder];
    const { child, outcome } = startCli([...args, "--jobs", "2"]);
    await until(() => recorded().length >= 2 || child.exitCode !== null);
    child.kill("SIGKILL");
    expect((await outcome).signal).toBe("SIGKILL");
    const before = recorded();
    expect(before.length).toBeLessThan(10);
    appendFileSync(join(folder, "results.jsonl"), '{"optimizer":"sgd","batchS');

    const resumed = await runCli(["sweep", "--resume", folder]);
    expect(resumed).toMatchObject({ code: 0, stderr: "" });
    // 2 batch sizes × (2 rates of sgd + 1 of lars8bit), then the best of each with the other seed.
    const lines = recorded();
    expect(lines.slice(0, before.length)).toEqual(before);
    expect(lines).toHaveLength(10);
    const keys = lines.map((line) => {
      const { optimizer, batchSize, lr, seed } = JSON.parse(line) as CellResult;
      return [optimizer, batchSize, lr, seed].join();
    });
    expect(new Set(keys).size).toBe(10);
    expect(readdirSync(folder)).not.toContain("cells");
  });

  test("records a rate that diverges, and takes another", () => {
    const results = recorded().map((line) => JSON.parse(line) as CellResult);
    const diverged = results.filter((result) => result.diverged);
    expect(diverged.map(({ lr, testAccuracy }) => ({ lr, testAccuracy }))).toEqual([
      { lr: 1e30, testAccuracy: null },
      { lr: 1e30, testAccuracy: null },
    ]);
  });

  test("writes one table, as Markdown and as JSON", () => {
    const { best } = JSON.parse(readFileSync(join(folder, "summary.json"), "utf8")) as {
      best: BestRate[];
    };
    expect(best.map(({ optimizer, batchSize, lr }) => [optimizer, batchSize, lr])).toEqual([
      ["sgd", 40, 0.2],
      ["sgd", 60, 0.2],
      ["lars8bit", 40, 2],
      ["lars8bit", 60, 2],
    ]);
    for (const { accuracies } of best) expect(accuracies).toHaveLength(2);
    const text = readFileSync(join(folder, "summary.md"), "utf8");
    expect(text).toMatch(/\| batch \| sgd \| lars8bit \|\n\| --- \| --- \| --- \|\n\| 40 \| \d/);
    expect(text).toContain("1e+30 → diverged");
  });

  test.each<[string, string[]]>([
    [
      "--lr: expected rates of optimizers that --optimizer names, got those of lars",
      ["--lr", "lars=1"],
    ],
    [
      "--lr: expected rates of each optimizer once, got those of sgd twice",
      ["--lr", "sgd=1", "--lr", "0.5"],
    ],
    ["--seeds: expected each once, got 1 twice", ["--seeds", "1,1"]],
    [
      "--batch-size: expected 120 or less, the samples of the training set, got 121",
      ["--batch-size", "40,121"],
    ],
    ["--max-unorm and --preset", ["--max-unorm", "1", "--preset", "timm"]],
    ['--jobs: expected a whole number from 1 to 256, got "none"', ["--jobs", "none"]],
    [
      "--resume: expected no other option but --jobs, got --epochs",
      ["--resume", folder, "--epochs", "3"],
    ],
  ])("refuses with exit code 2: %s", async (message, args) => {
    const out = join(temporary.path, "refused");
    const wanted = args.includes("--resume") ? [] : [...data, "--out", out];
    const some = args.includes("--batch-size") ? [] : ["--batch-size", "40"];
    const optimizer = ["--optimizer", "sgd,lars8bit"];
    const rest = args.includes("--resume") ? [] : [...optimizer, ...some];
    const { code, stderr } = await runCli(["sweep", ...wanted, ...rest, ...args]);
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining(message) });
    expect(existsSync(out)).toBe(false);
  });
});

describe("the plan", () => {
  const options = checkSweepOptions(
    {
      optimizer: "sgd,lars32bit",
      batchSize: "8192,256",
      lr: ["sgd=0.4,0.1"],
      seeds: "3,4,5",
      epochs: "2",
    },
    60_000,
  );
  const result = (lr: number, seed: number, testAccuracy: number | null): CellResult => ({
    optimizer: "sgd",
    batchSize: 256,
    lr,
    seed,
    diverged: testAccuracy === null,
    testAccuracy,
    testLoss: null,
    stateBytes: null,
    seconds: 1,
  });

  test("the grid has every rate with the first seed; small batches, which take longest, first", () => {
    const cells = gridCells(options);
    expect(cells).toHaveLength(2 * (2 + 5));
    expect(cells[0]).toEqual({ optimizer: "sgd", batchSize: 256, lr: 0.1, seed: 3 });
    expect(cells.every(({ seed }) => seed === 3)).toBe(true);
    // Without --lr: factors of 2 around the default, which is 3 at batch 8,192.
    const lars = cells.filter((cell) => cell.optimizer === "lars32bit" && cell.batchSize === 8192);
    expect(lars.map(({ lr }) => lr)).toEqual([0.75, 1.5, 3, 6, 12]);
  });

  test("the best rate is that of the first seed; the others only repeat it", () => {
    const results = [
      result(0.1, 3, 0.8),
      result(0.4, 3, 0.9),
      result(0.1, 4, 0.99),
      result(0.4, 4, 0.7),
    ];
    expect(bestRates(options, results)).toEqual([
      { optimizer: "sgd", batchSize: 256, lr: 0.4, accuracies: [0.9, 0.7] },
    ]);
    expect(repeatedCells(options, results).map(({ lr, seed }) => [lr, seed])).toEqual([
      [0.4, 4],
      [0.4, 5],
    ]);
  });

  test("a rate that diverges is never the best", () => {
    const results = [result(0.1, 3, 0.2), result(0.4, 3, null)];
    expect(bestRates(options, results)).toMatchObject([{ lr: 0.1 }]);
    expect(bestRates(options, [result(0.4, 3, null)])).toEqual([]);
  });

  test("sweep.json says the same as the options, and is checked", () => {
    const saved = JSON.parse(JSON.stringify(options)) as Record<string, unknown>;
    expect(checkSavedSweep(saved)).toEqual(options);
    expect(() => checkSavedSweep({ ...saved, grid: { ...options.grid, seeds: ["x"] } })).toThrow(
      'grid: seeds: expected a whole number from 0 to 2147483647, got "x"',
    );
  });
});
