/** What a sweep found: summary.md and summary.html for people, summary.json for programs. */
import { join } from "node:path";
import { writeAtomically } from "../files.js";
import type { OptimizerName } from "../optimizers.js";
import type { Chart } from "../report/chart.js";
import { escapeHtml, htmlPage, htmlTable } from "../report/html.js";
import { grouped, percent } from "../text.js";
import { bestRates, ratesAt } from "./cells.js";
import type { BestRate, CellResult } from "./cells.js";
import type { SweepOptions } from "./sweep-options.js";

interface Table {
  head: string[];
  rows: string[][];
}

export function writeSummary(
  path: string,
  options: SweepOptions,
  results: readonly CellResult[],
): void {
  const best = bestRates(options, results);
  const bestTable = tableOfBest(options, best);
  const gridTable = tableOfGrid(options, results);
  const json = { ...options, best, results: results.toSorted(byCell) };
  writeAtomically(join(path, "summary.json"), `${JSON.stringify(json, null, 2)}\n`);
  writeAtomically(
    join(path, "summary.md"),
    [
      `Test accuracy at the best rate of each grid; ${seedsText(options)}.`,
      markdownTable(bestTable),
      `The grid, with seed ${options.grid.seeds[0]!}: rate → test accuracy.`,
      markdownTable(gridTable),
    ].join("\n\n") + "\n",
  );
  writeAtomically(
    join(path, "summary.html"),
    htmlPage({
      title: "layerwise-train sweep",
      subtitle: `test accuracy at the best rate of each grid; ${seedsText(options)}`,
      table: toHtml(bestTable),
      notes: [],
      sections: [
        {
          heading: "How far the batch can be scaled",
          note: "Test accuracy over batch size, at the best rate of each optimizer and batch size; the mean of all seeds.",
          charts: [accuracyChart(options, best)],
        },
      ],
      footer: `<h2>The grid</h2>${toHtml(gridTable)}`,
    }),
  );
}

function seedsText({ grid }: SweepOptions): string {
  const { seeds } = grid;
  return seeds.length === 1
    ? `seed ${seeds[0]!}`
    : `mean (lowest–highest) of ${seeds.length} seeds`;
}

/** A row for each batch size, a column for each optimizer. */
function tableOfBest({ grid }: SweepOptions, best: readonly BestRate[]): Table {
  return {
    head: ["batch", ...grid.optimizers],
    rows: grid.batchSizes.map((batchSize) => [
      grouped(batchSize),
      ...grid.optimizers.map((optimizer) => {
        const found = find(best, optimizer, batchSize);
        return found === undefined
          ? "diverged"
          : `${accuracyText(found.accuracies)}, rate ${found.lr}`;
      }),
    ]),
  };
}

/** A row for each optimizer and batch size, with all its rates. */
function tableOfGrid(options: SweepOptions, results: readonly CellResult[]): Table {
  const { grid } = options;
  const cellText = (optimizer: OptimizerName, batchSize: number, lr: number): string => {
    const result = results.find(
      (candidate) =>
        candidate.optimizer === optimizer &&
        candidate.batchSize === batchSize &&
        candidate.lr === lr &&
        candidate.seed === grid.seeds[0],
    );
    const outcome = result === undefined ? "–" : outcomeOf(result);
    return `${lr} → ${outcome}`;
  };
  return {
    head: ["optimizer", "batch", "rates"],
    rows: grid.optimizers.flatMap((optimizer) =>
      grid.batchSizes.map((batchSize) => [
        optimizer,
        grouped(batchSize),
        ratesAt(options, optimizer, batchSize)
          .map((lr) => cellText(optimizer, batchSize, lr))
          .join(", "),
      ]),
    ),
  };
}

function outcomeOf({ testAccuracy }: CellResult): string {
  return testAccuracy === null ? "diverged" : percent(testAccuracy);
}

function accuracyText(accuracies: readonly number[]): string {
  const text = percent(mean(accuracies));
  if (accuracies.length === 1) return text;
  const [low, high] = [Math.min(...accuracies), Math.max(...accuracies)];
  return `${text} (${(100 * low).toFixed(2)}–${(100 * high).toFixed(2)})`;
}

function accuracyChart({ grid }: SweepOptions, best: readonly BestRate[]): Chart {
  return {
    title: "Test accuracy",
    xLabel: "batch size",
    yLabel: "%",
    x: grid.batchSizes.map((_, index) => index),
    names: grid.batchSizes.map(grouped),
    series: grid.optimizers.map((optimizer, color) => ({
      label: optimizer,
      values: grid.batchSizes.map((batchSize) => {
        const found = find(best, optimizer, batchSize);
        return found === undefined ? null : 100 * mean(found.accuracies);
      }),
      color,
    })),
  };
}

function find(
  best: readonly BestRate[],
  optimizer: OptimizerName,
  batchSize: number,
): BestRate | undefined {
  return best.find(
    (candidate) => candidate.optimizer === optimizer && candidate.batchSize === batchSize,
  );
}

function byCell(a: CellResult, b: CellResult): number {
  return (
    a.optimizer.localeCompare(b.optimizer) ||
    a.batchSize - b.batchSize ||
    a.lr - b.lr ||
    a.seed - b.seed
  );
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function markdownTable({ head, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function toHtml({ head, rows }: Table): string {
  return htmlTable(
    head.map(escapeHtml),
    rows.map((cells) => cells.map(escapeHtml)),
  );
}
