/** What a sweep found: summary.md and summary.html for people, summary.json for programs. */
import { join } from "node:path";
import { settingText } from "../describe.js";
import { writeAtomically } from "../files.js";
import type { OptimizerName } from "../optimizers/names.js";
import type { Setting } from "../optimizers/options.js";
import type { Chart } from "../report/chart.js";
import { escapeHtml, htmlPage, htmlTable } from "../report/html.js";
import { grouped, percent } from "../text.js";
import { bestRates } from "./cells.js";
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
      `What was tried with seed ${options.grid.seeds[0]!}: rate → held-out accuracy.`,
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
          : `${accuracyText(found.accuracies)}, rate ${settingText(found)}${found.atEdge ? " (at the edge)" : ""}`;
      }),
    ]),
  };
}

/** A row for each optimizer and batch size, with all that was tried on held-out samples. */
function tableOfGrid({ grid }: SweepOptions, results: readonly CellResult[]): Table {
  const rows = grid.optimizers.flatMap((optimizer) =>
    grid.batchSizes.map((batchSize) => [
      optimizer,
      grouped(batchSize),
      results
        .filter((result) => result.optimizer === optimizer && result.batchSize === batchSize)
        .flatMap(triedSettings)
        .toSorted((a, b) => a.lr - b.lr)
        .map((tried) => `${settingText(tried)} → ${outcomeOf(tried.accuracy)}`)
        .join(", "),
    ]),
  );
  return { head: ["optimizer", "batch", "rates"], rows };
}

/** What a result says of rates: its own trials, the shortest runs, or itself. */
function triedSettings(result: CellResult): (Setting & { accuracy: number | null })[] {
  if (result.searched) return result.trials.filter(({ rung }) => rung === 0);
  const { lr, maxGradNorm, holdOut, heldOutAccuracy } = result;
  return holdOut && lr !== null ? [{ lr, maxGradNorm, accuracy: heldOutAccuracy }] : [];
}

function outcomeOf(accuracy: number | null): string {
  return accuracy === null ? "diverged" : percent(accuracy);
}

function accuracyText(accuracies: readonly number[]): string {
  const text = percent(mean(accuracies));
  if (accuracies.length < 2) return accuracies.length === 0 ? "–" : text;
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
        return found === undefined || found.accuracies.length === 0
          ? null
          : 100 * mean(found.accuracies);
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
    (a.lr ?? 0) - (b.lr ?? 0) ||
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
