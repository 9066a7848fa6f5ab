/** report.html: one file that opens without a network, with everything that a run showed. */
import { settingText } from "../describe.js";
import { writeAtomically } from "../files.js";
import { readMetrics } from "../metrics.js";
import { layerSizes } from "../models/parameters.js";
import type { Plan, PlannedRun, Settings } from "../plan.js";
import type { RunFolder } from "../run-folder.js";
import { bytes, duration, grouped, percent } from "../text.js";
import { byOptimizer, chartSections } from "./charts-of-run.js";
import type { OptimizerMetrics } from "./charts-of-run.js";
import { escapeHtml, htmlPage, htmlTable } from "./html.js";

/** Writes the report of what a run has done so far. */
export function writeReport({ plan, settings }: PlannedRun, folder: RunFolder): void {
  const metrics = readMetrics(folder.metricsFile);
  const runs = byOptimizer(plan, metrics);
  const failures = metrics.filter((line) => line.kind === "failed");
  const page = htmlPage({
    title: "layerwise-train",
    subtitle: description(plan),
    table: resultTable(settings, runs),
    notes: failures.map(({ message }) => message),
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

function resultTable(settings: Settings, runs: readonly OptimizerMetrics[]): string {
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
  const rows = runs.map(({ name, epochs, steps }) => {
    const last = epochs.at(-1);
    const gradients = median(steps.map(({ gradientMs }) => gradientMs));
    const optimizer = median(steps.map(({ optimizerMs }) => optimizerMs));
    return [
      name,
      settings[name] === undefined ? "–" : settingText(settings[name]),
      last === undefined ? "–" : percent(last.testAccuracy),
      String(epochs.length),
      last === undefined ? "–" : bytes(last.stateBytes),
      gradients.toFixed(1),
      optimizer.toFixed(2),
      percent(optimizer / (gradients + optimizer)),
      duration(epochs.reduce((sum, { seconds }) => sum + seconds, 0)),
    ].map(escapeHtml);
  });
  return htmlTable(head, rows);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}
