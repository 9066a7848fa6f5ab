/** summary.html: what a sweep found, as a page. */
import { settingText } from "../describe.js";
import { optionName } from "../options.js";
import { placesOf } from "../report/chart.js";
import type { Chart, Section } from "../report/chart.js";
import { escapeHtml, htmlPage, htmlTable, swatch } from "../report/html.js";
import { lookOf, placeOf } from "../report/looks.js";
import { machineTable, textTable } from "../report/setup-section.js";
import { bytes, grouped, percent } from "../text.js";
import { VERSIONS } from "../versions.js";
import { triedSettings } from "./cells.js";
import type { BestRate, CellResult } from "./cells.js";
import type { SweepOptions } from "./sweep-options.js";

/** What a sweep found. */
interface Found {
  best: readonly BestRate[];
  results: readonly CellResult[];
}

/** A column of the table of best rates, and what it needs of a row. */
interface Column {
  head: string;
  cell: (best: BestRate) => string;
}

export function summaryHtml(options: SweepOptions, { best, results }: Found): string {
  const { grid } = options;
  return htmlPage({
    subject: "layerwise-train sweep",
    heading: headingOf(options, best),
    facts: `${grid.optimizers.length} optimizers × ${grid.batchSizes.length} batch sizes, each at its best rate · ${seedsText(options)}`,
    failures: [],
    notes: [],
    summary: bestTable(options, { best, results }),
    sections: [
      {
        id: "scaling",
        heading: "How far the batch can be scaled",
        note: `At the best rate of each optimizer and batch size.${grid.seeds.length === 1 ? "" : " Points are means over the seeds, bars reach from the lowest to the highest."}`,
        charts: [accuracyChart(options, best), rateChart(options, best)],
      },
      ratesSection(options, results),
      setupSection(options),
    ],
    footer: `Written by layerwise-train ${VERSIONS["layerwise-train"]!}. All results are in summary.json, beside this file.`,
  });
}

export function seedsText({ grid }: SweepOptions): string {
  const { seeds } = grid;
  return seeds.length === 1
    ? `seed ${seeds[0]!}`
    : `mean (lowest–highest) of ${seeds.length} seeds`;
}

/** 97.31 % (97.10–97.45), and how many seeds diverged, which a mean would hide. */
export function accuracyText({
  accuracies,
  diverged,
}: Pick<BestRate, "accuracies" | "diverged">): string {
  const failed = diverged === 0 ? "" : `${diverged} diverged`;
  if (accuracies.length === 0) return failed === "" ? "–" : failed;
  const text = percent(mean(accuracies));
  const [low, high] = [Math.min(...accuracies), Math.max(...accuracies)];
  const range =
    accuracies.length === 1 ? "" : ` (${(100 * low).toFixed(2)}–${(100 * high).toFixed(2)})`;
  return `${text}${range}${failed === "" ? "" : `, ${failed}`}`;
}

/** The largest batch is what a sweep is made for. */
function headingOf({ grid }: SweepOptions, best: readonly BestRate[]): string {
  const largest = Math.max(...grid.batchSizes);
  const [first, ...others] = best
    .filter(({ batchSize, accuracies }) => batchSize === largest && accuracies.length > 0)
    .toSorted((a, b) => mean(b.accuracies) - mean(a.accuracies));
  if (first === undefined) return `Nothing converged at batch ${grouped(largest)}`;
  const rest = others.map(
    ({ optimizer, accuracies }) => `${optimizer} ${percent(mean(accuracies))}`,
  );
  const result = `${first.optimizer} reached ${percent(mean(first.accuracies))} test accuracy`;
  return `At batch ${grouped(largest)}, ${[result, ...rest].join(", ")}`;
}

/** A row for each batch size and optimizer. */
function bestTable({ grid }: SweepOptions, { best, results }: Found): string {
  const columns: Column[] = [
    { head: "rate", cell: (found) => settingText(found) },
    { head: "test accuracy", cell: accuracyText },
    { head: "plateau", cell: plateauText },
    {
      head: "state",
      cell: ({ optimizer, batchSize, lr }) => {
        const result = results.find(
          (own) => own.optimizer === optimizer && own.batchSize === batchSize && own.lr === lr,
        );
        return typeof result?.stateBytes === "number" ? bytes(result.stateBytes) : "–";
      },
    },
  ];
  const rows = grid.batchSizes.flatMap((batchSize) =>
    grid.optimizers.map((optimizer) => {
      const found = find(best, optimizer, batchSize);
      const cells = columns.map(({ head, cell }) => {
        if (found !== undefined) return escapeHtml(cell(found));
        return head === "test accuracy" ? "diverged" : "–";
      });
      return [grouped(batchSize), swatch(`optimizer-${placeOf(optimizer)}`, optimizer), ...cells];
    }),
  );
  return htmlTable({
    label: "The best rate of each optimizer at each batch size",
    head: ["batch", "optimizer", ...columns.map(({ head }) => head)],
    rows,
    texts: 2,
  });
}

/** The range of rates that lose less than a point, and whether a better one may lie beyond. */
export function plateauText({ plateau, atEdge }: BestRate): string {
  const edge = atEdge ? "; the best lies at the edge" : "";
  return plateau === null ? "–" : `${plateau[0]}–${plateau[1]}${edge}`;
}

function accuracyChart(options: SweepOptions, best: readonly BestRate[]): Chart {
  return batchChart(options, best, {
    title: "Test accuracy",
    unit: "%",
    // A best rate of held-out samples may diverge on all of them.
    value: ({ accuracies }) => (accuracies.length === 0 ? null : 100 * mean(accuracies)),
    range: ({ accuracies }) =>
      accuracies.length < 2 ? null : [100 * Math.min(...accuracies), 100 * Math.max(...accuracies)],
  });
}

function rateChart(options: SweepOptions, best: readonly BestRate[]): Chart {
  return {
    ...batchChart(options, best, {
      title: "Best rate",
      unit: "",
      value: ({ lr }) => lr,
      range: () => null,
    }),
    logY: true,
  };
}

/** One chart's value for each best rate. */
interface BatchChart {
  title: string;
  unit: string;
  value: (best: BestRate) => number | null;
  /** Drawn as a bar. */
  range: (best: BestRate) => readonly [number, number] | null;
}

function batchChart(
  { grid }: SweepOptions,
  best: readonly BestRate[],
  { title, unit, value, range }: BatchChart,
): Chart {
  const x = placesOf([grid.batchSizes]);
  const series = grid.optimizers.map((optimizer) => {
    const found = x.map((batchSize) => find(best, optimizer, batchSize));
    const ranges = found.map((own) => (own === undefined ? null : range(own)));
    return {
      ...lookOf(optimizer, grid.optimizers),
      label: optimizer,
      values: found.map((own) => (own === undefined ? null : value(own))),
      low: ranges.map((ends) => ends?.[0] ?? null),
      high: ranges.map((ends) => ends?.[1] ?? null),
    };
  });
  return { title, unit, xLabel: "batch size", x, series, logX: true, xTicks: x };
}

/** How much the rate matters: held-out accuracy over the rate, at each batch size. */
function ratesSection({ grid }: SweepOptions, results: readonly CellResult[]): Section {
  const charts = placesOf([grid.batchSizes]).map((batchSize): Chart => {
    const tried = grid.optimizers.map((optimizer) =>
      triedSettings(results, optimizer, batchSize).filter(({ accuracy }) => accuracy !== null),
    );
    const x = placesOf(tried.map((own) => own.map(({ lr }) => lr)));
    return {
      title: `Batch ${grouped(batchSize)}`,
      unit: "held-out accuracy, %",
      xLabel: "rate",
      x,
      series: grid.optimizers.map((optimizer, index) => {
        const own = tried[index]!;
        // Rates differ by limit, so a line of the best of all would jump between limits.
        const best = own.toSorted((a, b) => b.accuracy! - a.accuracy!)[0];
        const ofLimit = own.filter(({ maxGradNorm }) => maxGradNorm === best?.maxGradNorm);
        const at = new Map(ofLimit.map(({ lr, accuracy }) => [lr, 100 * accuracy!]));
        const values = x.map((lr) => at.get(lr) ?? null);
        return { ...lookOf(optimizer, grid.optimizers), label: optimizer, values };
      }),
      logX: true,
    };
  });
  return {
    id: "rates",
    heading: "How much the rate matters",
    note: `Accuracy on held-out training samples over the rate, with seed ${grid.seeds[0]!}. Searched rates are those of equally short runs, whose best rate may differ from that of a whole run. Where limits of the gradients' norm were tried too, the rates are those of the best limit. A wide plateau needs less tuning than a narrow one. Rates that diverged have no point.`,
    charts,
    html: `<details><summary>All ${grouped(results.length)} results</summary>${resultsTable(results)}</details>`,
  };
}

function resultsTable(results: readonly CellResult[]): string {
  const text = (accuracy: number | null): string => (accuracy === null ? "–" : percent(accuracy));
  const rows = results
    .toSorted(byCell)
    .map(({ optimizer, batchSize, lr, maxGradNorm, seed, diverged, ...result }) => [
      escapeHtml(optimizer),
      grouped(batchSize),
      lr === null ? "none" : settingText({ lr, maxGradNorm }),
      String(seed),
      diverged ? "diverged" : text(result.heldOutAccuracy),
      text(result.testAccuracy),
    ]);
  const head = ["optimizer", "batch", "rate", "seed", "held-out accuracy", "test accuracy"];
  return htmlTable({ label: "All results", head, rows });
}

function setupSection({ training, grid }: SweepOptions): Section {
  const options = {
    ...training,
    optimizer: grid.optimizers,
    batchSize: grid.batchSizes,
    seeds: grid.seeds,
  };
  const rows = Object.entries(options).map(([name, value]: [string, unknown]) => [
    `<code>${escapeHtml(optionName(name))}</code>`,
    escapeHtml(Array.isArray(value) ? value.join(", ") : String(value)),
  ]);
  return {
    id: "setup",
    heading: "Options and machine",
    note: "Options that are not listed had their defaults.",
    charts: [],
    html: `<div class="half"><div>${textTable("Options of the sweep", rows)}</div><div>${machineTable()}</div></div>`,
  };
}

function find(
  best: readonly BestRate[],
  optimizer: string,
  batchSize: number,
): BestRate | undefined {
  return best.find((own) => own.optimizer === optimizer && own.batchSize === batchSize);
}

export function byCell(a: CellResult, b: CellResult): number {
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
