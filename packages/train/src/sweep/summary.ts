/** What a sweep found: summary.md and summary.html for people, summary.json for programs. */
import { join } from "node:path";
import { writeAtomically } from "../files.js";
import type { OptimizerName } from "../optimizers.js";
import { grouped, percent } from "../text.js";
import { bestRates, ratesAt } from "./cells.js";
import type { BestRate, CellResult } from "./cells.js";
import { accuracyText, byCell, seedsText, summaryHtml } from "./summary-page.js";
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
  writeAtomically(join(path, "summary.html"), summaryHtml(options, { best, results }));
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

function find(
  best: readonly BestRate[],
  optimizer: OptimizerName,
  batchSize: number,
): BestRate | undefined {
  return best.find(
    (candidate) => candidate.optimizer === optimizer && candidate.batchSize === batchSize,
  );
}

function markdownTable({ head, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
