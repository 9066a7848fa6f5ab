/** Sections on how training went: loss and accuracy, the time of steps, and every layer. */
import type { LayerReport } from "layerwise";
import type { StepMetrics } from "../metrics.js";
import type { Plan } from "../plan.js";
import type { OptimizerHistory } from "../run-history.js";
import { finite, placesOf, positive } from "./chart.js";
import type { Chart, ChartSeries, Section } from "./chart.js";
import { layerLook, lookOf } from "./looks.js";
import { kernelsOf, shownLayers } from "./shown-layers.js";

export function trainingSection(runs: readonly OptimizerHistory[]): Section {
  return {
    id: "training",
    heading: "Accuracy and loss",
    note: "Training values are means over the samples of an epoch, each before the step that used it. Test values follow the epoch. The loss is the cross entropy in nats.",
    charts: [
      epochChart(runs, {
        title: "Accuracy",
        unit: "%",
        test: "testAccuracy",
        train: "trainAccuracy",
      }),
      epochChart(runs, { title: "Loss", unit: "", test: "testLoss", train: "trainLoss" }),
      stepChart(runs, {
        title: "Training loss, step by step",
        unit: "",
        lines: [{ label: "", value: ({ loss }) => loss }],
      }),
      stepChart(runs, {
        title: "Norm of the gradient",
        unit: "",
        lines: [{ label: "", value: ({ gradNorm }) => gradNorm }],
      }),
    ],
  };
}

export function timeSection(runs: readonly OptimizerHistory[]): Section {
  return {
    id: "time",
    heading: "Where the time goes",
    note: "Computing the gradients of a batch, and the step of the optimizer. The first step compiles the model too. The table above has the medians.",
    charts: [
      stepChart(runs, {
        title: "Time of a step",
        unit: "ms",
        lines: [
          { label: "gradients", value: ({ gradientMs }) => gradientMs, dashed: true },
          { label: "optimizer", value: ({ optimizerMs }) => optimizerMs },
        ],
      }),
    ],
  };
}

interface EpochChart {
  title: string;
  unit: string;
  test: "testLoss" | "testAccuracy";
  train: "trainLoss" | "trainAccuracy";
}

function epochChart(
  runs: readonly OptimizerHistory[],
  { title, unit, test, train }: EpochChart,
): Chart {
  const factor = unit === "%" ? 100 : 1;
  const x = placesOf(runs.map(({ epochs }) => epochs.values.map(({ epoch }) => epoch)));
  const names = runs.map(({ name }) => name);
  const series = runs.flatMap(({ name, epochs }) => {
    const at = new Map(epochs.values.map((line) => [line.epoch, line]));
    const valuesOf = (field: typeof test | typeof train): (number | null)[] =>
      x.map((epoch) => {
        const value = finite(at.get(epoch)?.[field]);
        return value === null ? null : factor * value;
      });
    const { color, width = 2, marker } = lookOf(name, names);
    return [
      { label: `${name}, test`, values: valuesOf(test), color, width, ...(marker && { marker }) },
      { label: `${name}, training`, values: valuesOf(train), color, dashed: true },
    ];
  });
  return { title, unit, xLabel: "epoch", x, series, cursor: "epochs" };
}

/** What a chart shows of each step of each optimizer. */
interface StepChart {
  title: string;
  unit: string;
  lines: { label: string; value: (line: StepMetrics) => number | null; dashed?: boolean }[];
}

function stepChart(runs: readonly OptimizerHistory[], { title, unit, lines }: StepChart): Chart {
  const x = placesOf(runs.map(({ steps }) => steps.values.map(({ step }) => step)));
  const names = runs.map(({ name }) => name);
  const series = runs.flatMap(({ name, steps }) => {
    const at = new Map(steps.values.map((line) => [line.step, line]));
    // Two lines of one optimizer differ by their dashes; wide ones would look alike.
    const { color, ...look } = lookOf(name, names);
    return lines.map(({ label, value, dashed = false }): ChartSeries => ({
      color,
      ...(lines.length === 1 ? look : {}),
      label: label === "" ? name : `${name}, ${label}`,
      values: x.map((step) => {
        const line = at.get(step);
        return line === undefined ? null : positive(value(line));
      }),
      dashed,
    }));
  });
  return { title, unit, xLabel: "step", x, series, logY: true, cursor: "steps" };
}

/** What the optimizer did in each layer. */
export function layerSection(plan: Plan, { name, steps }: OptimizerHistory): Section {
  const kernels = shownLayers(plan.model);
  const lines = steps.values;
  const x = lines.map(({ step }) => step);
  const common = { unit: "", xLabel: "step", x, logY: true, cursor: `layers of ${name}` };
  const layerChart = (
    title: string,
    value: (layer: LayerReport, line: StepMetrics) => number | null,
  ): Chart => ({
    ...common,
    title,
    series: kernels.map((kernel, index) => ({
      ...layerLook(index, kernels.length),
      label: kernel,
      values: lines.map((line) => {
        const layer = line.layers.find((candidate) => candidate.name === kernel);
        return layer === undefined ? null : positive(value(layer, line));
      }),
    })),
  });
  const rate: Chart = {
    ...common,
    title: "Learning rate",
    logY: false,
    series: [{ ...lookOf(name, [name]), label: "rate", values: lines.map(({ lr }) => finite(lr)) }],
  };
  const isAdapted = lines.some(({ layers }) => layers.some(({ trustRatio }) => trustRatio !== 1));
  const ratios = [
    layerChart("Trust ratio", ({ trustRatio }) => trustRatio),
    layerChart("Rate × trust ratio", ({ trustRatio }, { lr }) => lr * trustRatio),
  ];
  return {
    id: `layers-${name}`,
    heading: `${name}, layer by layer`,
    note: [
      isAdapted
        ? "The trust ratio multiplies the rate of a layer, so that every layer moves in proportion to its weights."
        : "There is no trust ratio: every layer has the same rate.",
      shownText(plan, kernels),
    ].join(" "),
    charts: [
      ...(isAdapted ? ratios : []),
      rate,
      layerChart("Norm of the weights", ({ weightNorm }) => weightNorm),
      layerChart("Norm of the gradient", ({ gradNorm }) => gradNorm),
      layerChart("Norm of the update", ({ updateNorm }) => updateNorm),
      ...noiseOfLayers(layerChart, lines),
    ],
  };
}

function shownText({ model }: Plan, shown: readonly string[]): string {
  const { length } = kernelsOf(model);
  return length === shown.length
    ? "Kernels are shown, biases are not."
    : `${shown.length} of ${length} kernels are shown, the first and the last among them.`;
}

/** The noise scale of each layer, where it was measured. */
function noiseOfLayers(
  layerChart: (
    title: string,
    value: (layer: LayerReport, line: StepMetrics) => number | null,
  ) => Chart,
  lines: readonly StepMetrics[],
): Chart[] {
  if (lines.every(({ noise }) => (noise ?? null) === null)) return [];
  const chart = layerChart("Gradient noise scale", ({ name }, { noise }) => {
    return noise?.layers.find((layer) => layer.name === name)?.scale ?? null;
  });
  return [{ ...chart, unit: "samples" }];
}
