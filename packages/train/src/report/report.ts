/** report.html: one file that opens without a network, with everything that a run showed. */
import { writeAtomically } from "../files.js";
import { layerSizes } from "../models/parameters.js";
import type { Plan } from "../plan.js";
import type { RunFolder } from "../run-folder.js";
import type { OptimizerHistory, RunHistory } from "../run-history.js";
import { bytes, duration, grouped, percent } from "../text.js";
import { chartSections } from "./charts-of-run.js";
import { escapeHtml, htmlPage, htmlTable } from "./html.js";

/** What a report is about. */
interface ReportedRun {
  plan: Plan;
  folder: RunFolder;
}

/** Writes the report of what a run has done so far. */
export function writeReport({ plan, folder }: ReportedRun, history: RunHistory): void {
  const runs = plan.options.optimizer.map((name) => history.of(name));
  const page = htmlPage({
    title: "layerwise-train",
    subtitle: description(plan),
    table: resultTable(plan, runs),
    notes: history.failures.map(({ message }) => message),
    sections: chartSections(plan, runs),
  });
  writeAtomically(folder.reportFile, page);
}

function description({ options, model }: Plan): string {
  const layers = layerSizes(model).join("-");
  return [
    options.data ?? "MNIST",
    options.model === "mlp" ? `MLP ${layers}` : "LeNet",
    `batch ${grouped(options.batchSize)}`,
    `${options.epochs} epochs`,
    `seed ${options.seed}`,
  ].join(" · ");
}

function resultTable({ rates }: Plan, runs: readonly OptimizerHistory[]): string {
  const head = [
    "optimizer",
    "rate",
    "test accuracy",
    "epochs",
    "state",
    "gradients, ms a step",
    "optimizer, ms a step",
    "its share",
    "time",
  ];
  const rows = runs.map(({ name, epochs, steps, lastEpoch: last, seconds }) => {
    const gradients = median(steps.values.map(({ gradientMs }) => gradientMs));
    const optimizer = median(steps.values.map(({ optimizerMs }) => optimizerMs));
    return [
      name,
      String(rates[name]),
      last === null ? "–" : percent(last.testAccuracy),
      String(epochs.count),
      last === null ? "–" : bytes(last.stateBytes),
      gradients.toFixed(1),
      optimizer.toFixed(2),
      percent(optimizer / (gradients + optimizer)),
      duration(seconds),
    ].map(escapeHtml);
  });
  return htmlTable(head, rows);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}
