/** Sweeps: the grid, the best rates, cells that diverge, and going on after a kill. */
import { appendFileSync, existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { BestRate, CellResult } from "../src/sweep/cells.js";
import { bestRates, choosingCells, plateauOf, testedCells } from "../src/sweep/cells.js";
import { accuracyText } from "../src/sweep/summary-page.js";
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
    expect(before.length).toBeLessThan(14);
    appendFileSync(join(folder, "results.jsonl"), '{"optimizer":"sgd","batchS');

    const resumed = await runCli(["sweep", "--resume", folder]);
    expect(resumed).toMatchObject({ code: 0, stderr: "" });
    // 2 batch sizes × (2 rates of sgd + 1 of lars8bit), then the best of each with both seeds.
    const lines = recorded();
    expect(lines.slice(0, before.length)).toEqual(before);
    expect(lines).toHaveLength(14);
    const keys = lines.map((line) => {
      const { optimizer, batchSize, lr, seed, holdOut } = JSON.parse(line) as CellResult;
      return [optimizer, batchSize, lr, seed, holdOut].join();
    });
    expect(new Set(keys).size).toBe(14);
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
  const options = checkSweepOptions({
    optimizer: "sgd,lars32bit",
    batchSize: "8192,256",
    lr: ["sgd=0.4,0.1"],
    seeds: "3,4,5",
    epochs: "2",
  });
  const common = {
    optimizer: "sgd",
    batchSize: 256,
    maxGradNorm: null,
    searched: false,
    testLoss: null,
    stateBytes: null,
    seconds: 1,
    trials: [],
    atEdge: false,
  } as const;
  const result = (
    lr: number,
    seed: number,
    accuracy: number | null,
    holdOut = true,
  ): CellResult => ({
    ...common,
    lr,
    seed,
    holdOut,
    diverged: accuracy === null,
    heldOutAccuracy: holdOut ? accuracy : null,
    testAccuracy: holdOut ? null : accuracy,
  });

  test("rates are chosen with the first seed, on held-out samples; those that are not given are searched", () => {
    const cells = choosingCells(options);
    expect(cells).toHaveLength(2 * (2 + 1));
    const cell = { optimizer: "sgd", batchSize: 256, seed: 3, maxGradNorm: null };
    // Small batches, which take longest, come first.
    expect(cells[0]).toEqual({ ...cell, lr: 0.1, holdOut: true });
    expect(cells[2]).toEqual({ ...cell, optimizer: "lars32bit", lr: "auto", holdOut: false });
    expect(cells.every(({ seed }) => seed === 3)).toBe(true);
  });

  test("the best rate is the one with the highest held-out accuracy; all seeds test it once", () => {
    const tried = [result(0.1, 3, 0.8), result(0.4, 3, 0.9)];
    expect(testedCells(options, tried).map(({ lr, seed, holdOut }) => [lr, seed, holdOut])).toEqual(
      [
        [0.4, 3, false],
        [0.4, 4, false],
        [0.4, 5, false],
      ],
    );
    // Test accuracies take no part: those of 0.1 are higher.
    const tested = [
      result(0.4, 4, 0.7, false),
      result(0.4, 3, 0.95, false),
      result(0.1, 3, 0.99, false),
    ];
    expect(bestRates(options, [...tried, ...tested])).toMatchObject([
      { optimizer: "sgd", batchSize: 256, lr: 0.4, accuracies: [0.95, 0.7], atEdge: true },
    ]);
  });

  test("a cell that searched its rate gives it to the other seeds", () => {
    const trial = { rung: 0, batchSize: 256, steps: 5, loss: 1, maxGradNorm: null };
    const trials = [0.1, 0.2, 0.4].map((lr, index) => ({
      ...trial,
      lr,
      accuracy: 0.8 + 0.05 * index,
    }));
    const searched: CellResult = { ...result(0.28, 3, 0.9, false), searched: true, trials };
    expect(testedCells(options, [searched]).map(({ lr, seed }) => [lr, seed])).toEqual([
      [0.28, 4],
      [0.28, 5],
    ]);
    expect(bestRates(options, [searched])).toMatchObject([{ lr: 0.28, plateau: [0.4, 0.4] }]);
    const none = { ...searched, lr: null, testAccuracy: null, diverged: true };
    expect(bestRates(options, [none])).toEqual([]);
  });

  test("a rate that diverges is never the best", () => {
    const results = [result(0.1, 3, 0.2), result(0.4, 3, null)];
    expect(bestRates(options, results)).toMatchObject([{ lr: 0.1 }]);
    expect(bestRates(options, [result(0.4, 3, null)])).toEqual([]);
  });

  test("a seed that diverges is counted beside the mean of the others", () => {
    const tried = [result(0.1, 3, 0.8), result(0.4, 3, 0.9)];
    const tested = [
      result(0.4, 3, 0.9, false),
      result(0.4, 4, 0.8, false),
      result(0.4, 5, null, false),
    ];
    const [best] = bestRates(options, [...tried, ...tested]);
    expect(best).toMatchObject({ accuracies: [0.9, 0.8], diverged: 1 });
    expect(accuracyText(best!)).toBe("85.00 % (80.00–90.00), 1 diverged");
    expect(accuracyText({ accuracies: [], diverged: 3 })).toBe("3 diverged");
    expect(accuracyText({ accuracies: [], diverged: 0 })).toBe("–");
  });

  test("the plateau is the range without a gap that loses less than a point", () => {
    const rates = (...accuracies: (number | null)[]): { lr: number; accuracy: number | null }[] =>
      accuracies.map((accuracy, index) => ({ lr: 2 ** index, accuracy }));
    expect(plateauOf(rates(0.5, 0.895, 0.9, 0.892, 0.7))).toEqual([2, 8]);
    expect(plateauOf(rates(0.9, 0.7, 0.895))).toEqual([1, 1]);
    expect(plateauOf(rates(0.9, null, 0.9))).toEqual([1, 1]);
    expect(plateauOf(rates(null, null))).toBeNull();
  });

  test("sweep.json says the same as the options, and is checked", () => {
    const saved = JSON.parse(JSON.stringify(options)) as Record<string, unknown>;
    expect(checkSavedSweep(saved)).toEqual(options);
    expect(() => checkSavedSweep({ ...saved, grid: { ...options.grid, seeds: ["x"] } })).toThrow(
      'grid: seeds: expected a whole number from 0 to 2147483647, got "x"',
    );
  });
});
