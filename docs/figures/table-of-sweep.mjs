/**
 * Makes the table of accuracy-by-batch.mjs from what a sweep found.
 *
 *   node docs/figures/table-of-sweep.mjs <summary.json> <title> > <table.json>
 */
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

/**
 * @typedef {{ optimizer: string; batchSize: number; accuracies: number[] }} Best
 * @typedef {{ grid: { optimizers: string[]; batchSizes: number[] }; best: Best[] }} Summary
 */

/**
 * @param {Summary} summary
 * @param {string} title
 */
export function tableOfSweep({ grid, best }, title) {
  const batchSizes = grid.batchSizes.toSorted((a, b) => a - b);
  const each = (/** @type {(accuracies: number[]) => number} */ value) =>
    grid.optimizers.map((optimizer) =>
      batchSizes.map((batchSize) => {
        const found = best.find(
          (own) => own.optimizer === optimizer && own.batchSize === batchSize,
        );
        return found === undefined || found.accuracies.length === 0
          ? null
          : value(found.accuracies);
      }),
    );
  return {
    title,
    batchSizes,
    optimizers: grid.optimizers,
    mean: each((values) => values.reduce((sum, value) => sum + value, 0) / values.length),
    low: each((values) => Math.min(...values)),
    high: each((values) => Math.max(...values)),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [, , file = "", title = ""] = process.argv;
  const summary = JSON.parse(readFileSync(file, "utf8"));
  console.log(JSON.stringify(tableOfSweep(summary, title), null, 2));
}
