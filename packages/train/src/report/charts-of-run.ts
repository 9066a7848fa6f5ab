/** From the metrics of a run to its charts. */
import type { LayerReport } from "layerwise";
import type { Plan } from "../plan.js";
import type { OptimizerHistory } from "../run-history.js";
import type { Chart, ChartSection, ChartSeries } from "./chart.js";
import { shownLayers } from "./shown-layers.js";

export function chartSections(plan: Plan, runs: readonly OptimizerHistory[]): ChartSection[] {
  const begun = runs.filter(({ steps }) => steps.count > 0);
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
  runs: readonly OptimizerHistory[],
  { title, yLabel, of, factor = 1 }: EpochChart,
): Chart {
  const x = placesOf(runs.map(({ epochs }) => epochs.values.map(({ epoch }) => epoch)));
  const series = runs.flatMap(({ name, epochs }, color) =>
    of.map((field): ChartSeries => {
      const values = new Map(epochs.values.map((line) => [line.epoch, line[field] * factor]));
      const isTraining = field.startsWith("train");
      return {
        label: `${name}, ${isTraining ? "training" : "test"}`,
        values: x.map((epoch) => finite(values.get(epoch) ?? NaN)),
        color,
        dashed: isTraining,
      };
    }),
  );
  return { title, xLabel: "epoch", yLabel, x, series };
}

function stateChart(runs: readonly OptimizerHistory[]): Chart {
  return {
    title: "Optimizer state",
    xLabel: "",
    yLabel: "KB",
    x: runs.map((_, index) => index),
    series: [
      {
        label: "state",
        values: runs.map(({ lastEpoch }) => finite((lastEpoch?.stateBytes ?? NaN) / 1000)),
        color: 0,
      },
    ],
    names: runs.map(({ name }) => name),
    bars: true,
  };
}

function timeChart(runs: readonly OptimizerHistory[]): Chart {
  const x = placesOf(runs.map(({ steps }) => steps.values.map(({ step }) => step)));
  const series = runs.flatMap(({ name, steps }, color): ChartSeries[] => {
    const at = new Map(steps.values.map((line) => [line.step, line]));
    return [
      {
        label: `${name}, gradients`,
        values: x.map((step) => positive(at.get(step)?.gradientMs)),
        color,
        dashed: true,
      },
      {
        label: `${name}, optimizer`,
        values: x.map((step) => positive(at.get(step)?.optimizerMs)),
        color,
      },
    ];
  });
  return {
    title: "Time of a step",
    xLabel: "step",
    yLabel: "ms",
    x,
    series,
    logarithmic: true,
  };
}

function layerSection(plan: Plan, { name, steps }: OptimizerHistory): ChartSection {
  const kernels = shownLayers(plan.model);
  const shown = steps.values;
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
  if (name === "sgd") {
    const note = "SGD has no trust ratio: every layer takes the same rate.";
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

/** The x of several series together, in order. */
function placesOf(series: readonly (readonly number[])[]): number[] {
  return [...new Set(series.flat())].sort((a, b) => a - b);
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

function positive(value: number | undefined): number | null {
  return value !== undefined && value > 0 && Number.isFinite(value) ? value : null;
}
