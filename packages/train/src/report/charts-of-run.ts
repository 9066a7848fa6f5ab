/** From the metrics of a run to its charts. */
import type { LayerReport } from "layerwise";
import type { EpochMetrics, Metrics, StepMetrics } from "../metrics.js";
import { parametersOf } from "../models/parameters.js";
import { isLars } from "../optimizers/names.js";
import type { OptimizerName } from "../optimizers/names.js";
import type { Plan } from "../plan.js";
import type { Chart, ChartSection, ChartSeries } from "./chart.js";

/** A chart 600 pixels wide shows no more; the file stays small. */
const MAX_POINTS = 1000;

/** The metrics of one optimizer. */
export interface OptimizerMetrics {
  name: OptimizerName;
  epochs: EpochMetrics[];
  steps: StepMetrics[];
}

export function byOptimizer(plan: Plan, metrics: readonly Metrics[]): OptimizerMetrics[] {
  return plan.options.optimizer.map((name) => {
    const own = metrics.filter(({ optimizer }) => optimizer === name);
    return {
      name,
      epochs: own.filter((line) => line.kind === "epoch"),
      steps: own.filter((line) => line.kind === "step"),
    };
  });
}

export function chartSections(plan: Plan, runs: readonly OptimizerMetrics[]): ChartSection[] {
  const begun = runs.filter(({ steps }) => steps.length > 0);
  return [
    {
      heading: "Loss and accuracy",
      note: "Means over the training samples of an epoch, each before the step that it was in, and over the test set after the epoch.",
      charts: [
        epochChart(begun, {
          title: "Loss",
          yLabel: "cross entropy",
          of: ["trainLoss", "testLoss"],
        }),
        epochChart(begun, {
          title: "Accuracy",
          yLabel: "%",
          of: ["trainAccuracy", "testAccuracy"],
          factor: 100,
        }),
      ],
    },
    {
      heading: "Cost",
      note: "Bytes that the optimizer keeps beside the weights, and where the time of a step goes.",
      charts: [stateChart(begun), timeChart(begun)],
    },
    ...begun.map((run) => layerSection(plan, run)),
  ];
}

interface EpochChart {
  title: string;
  yLabel: string;
  /** Of the training part, dashed, and of the test part. */
  of: readonly ["trainLoss" | "trainAccuracy", "testLoss" | "testAccuracy"];
  factor?: number;
}

function epochChart(
  runs: readonly OptimizerMetrics[],
  { title, yLabel, of, factor = 1 }: EpochChart,
): Chart {
  const epochs = Math.max(0, ...runs.map((run) => run.epochs.length));
  const x = Array.from({ length: epochs }, (_, index) => index + 1);
  const series = runs.flatMap(({ name, epochs: lines }, color) =>
    of.map((field): ChartSeries => {
      const isTraining = field.startsWith("train");
      return {
        label: `${name}, ${isTraining ? "training" : "test"}`,
        values: x.map((_, index) => finite((lines[index]?.[field] ?? NaN) * factor)),
        color,
        dashed: isTraining,
      };
    }),
  );
  return { title, xLabel: "epoch", yLabel, x, series };
}

function stateChart(runs: readonly OptimizerMetrics[]): Chart {
  return {
    title: "Optimizer state",
    xLabel: "",
    yLabel: "KB",
    x: runs.map((_, index) => index),
    series: [
      {
        label: "state",
        values: runs.map(({ epochs }) => finite((epochs.at(-1)?.stateBytes ?? NaN) / 1000)),
        color: 0,
      },
    ],
    names: runs.map(({ name }) => name),
    bars: true,
  };
}

function timeChart(runs: readonly OptimizerMetrics[]): Chart {
  const longest = Math.max(0, ...runs.map(({ steps }) => steps.length));
  const indices = sampled(longest);
  const series = runs.flatMap(({ name, steps }, color): ChartSeries[] => [
    {
      label: `${name}, gradients`,
      values: indices.map((index) => positive(steps[index]?.gradientMs)),
      color,
      dashed: true,
    },
    {
      label: `${name}, optimizer`,
      values: indices.map((index) => positive(steps[index]?.optimizerMs)),
      color,
    },
  ]);
  return {
    title: "Time of a step",
    xLabel: "step",
    yLabel: "ms",
    x: indices.map((index) => index + 1),
    series,
    logarithmic: true,
  };
}

function layerSection(plan: Plan, { name, steps }: OptimizerMetrics): ChartSection {
  const kernels = parametersOf(plan.model)
    .filter(({ shape }) => shape.length > 1)
    .map((spec) => spec.name);
  const shown = sampled(steps.length).map((index) => steps[index]!);
  const common = { xLabel: "step", yLabel: "", x: shown.map(({ step }) => step), cursor: name };
  const layerChart = (title: string, value: (layer: LayerReport, lr: number) => number): Chart => ({
    ...common,
    title,
    series: kernels.map((kernel, color) => ({
      label: kernel,
      values: shown.map(({ layers, lr }) => {
        const layer = layers.find((candidate) => candidate.name === kernel);
        return layer === undefined ? null : positive(value(layer, lr));
      }),
      color,
    })),
    logarithmic: true,
  });
  const rate: Chart = {
    ...common,
    title: "Learning rate",
    series: [{ label: "learning rate", values: shown.map(({ lr }) => lr), color: 0 }],
  };
  const norms = [
    layerChart("Norm of the weights", ({ weightNorm }) => weightNorm),
    layerChart("Norm of the gradient", ({ gradNorm }) => gradNorm),
    layerChart("Norm of the update", ({ updateNorm }) => updateNorm),
  ];
  if (!isLars(name)) {
    const note = "No trust ratio: every layer takes the same rate.";
    return { heading: `${name}, layer by layer`, note, charts: [rate, ...norms] };
  }
  return {
    heading: `${name}, layer by layer`,
    note: "Kernels only: biases have trust ratio 1 and no weight decay.",
    charts: [
      layerChart("Trust ratio", ({ trustRatio }) => trustRatio),
      ...norms,
      rate,
      layerChart("Learning rate · trust ratio", ({ trustRatio }, lr) => lr * trustRatio),
    ],
  };
}

/** Places of at most MAX_POINTS values, evenly spread, the last among them. */
function sampled(length: number): number[] {
  const stride = Math.max(1, Math.ceil(length / MAX_POINTS));
  const count = Math.ceil(length / stride);
  return Array.from({ length: count }, (_, index) => length - 1 - (count - 1 - index) * stride);
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

function positive(value: number | undefined): number | null {
  return value !== undefined && value > 0 && Number.isFinite(value) ? value : null;
}
