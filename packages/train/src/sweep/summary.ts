/** What a sweep found: summary.md and summary.html for people, summary.json for programs. */
import { join } from "node:path";
import { settingText } from "../describe.js";
import { writeAtomically } from "../files.js";
import type { OptimizerName } from "../optimizers/names.js";
import { grouped, percent } from "../text.js";
import { bestRates, triedSettings } from "./cells.js";
import type { BestRate, CellResult } from "./cells.js";
import { accuracyText, byCell, plateauText, seedsText, summaryHtml } from "./summary-page.js";
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
  const triedTable = tableOfTried(options, results);
  const json = { ...options, best, results: results.toSorted(byCell) };
  writeAtomically(join(path, "summary.json"), `${JSON.stringify(json, null, 2)}\n`);
  writeAtomically(
    join(path, "summary.md"),
    [
      `Test accuracy at the best rate; ${seedsText(options)}.`,
      markdownTable(bestTable),
      "The settings, and the plateau: the rates within one point of the best on held-out samples.",
      markdownTable(tableOfPlateaus(options, best)),
      `What was tried with seed ${options.grid.seeds[0]!}: rate → held-out accuracy. Rates that are searched are tried in short runs.`,
      markdownTable(triedTable),
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
        return found === undefined ? "diverged" : accuracyText(found);
      }),
    ]),
  };
}

/** A row for each batch size, a column for each optimizer. */
function tableOfPlateaus({ grid }: SweepOptions, best: readonly BestRate[]): Table {
  return {
    head: ["batch", ...grid.optimizers],
    rows: grid.batchSizes.map((batchSize) => [
      grouped(batchSize),
      ...grid.optimizers.map((optimizer) => {
        const found = find(best, optimizer, batchSize);
        return found === undefined ? "–" : `${settingText(found)} (${plateauText(found)})`;
      }),
    ]),
  };
}

/** A row for each optimizer and batch size, with all that was tried on held-out samples. */
function tableOfTried({ grid }: SweepOptions, results: readonly CellResult[]): Table {
  const rows = grid.optimizers.flatMap((optimizer) =>
    grid.batchSizes.map((batchSize) => [
      optimizer,
      grouped(batchSize),
      triedSettings(results, optimizer, batchSize)
        .map((tried) => `${settingText(tried)} → ${outcomeOf(tried.accuracy)}`)
        .join(", "),
    ]),
  );
  return { head: ["optimizer", "batch", "rates"], rows };
}

function outcomeOf(accuracy: number | null): string {
  return accuracy === null ? "diverged" : percent(accuracy);
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
