/** Runs in the browser: draws the charts that the page holds as JSON. */
import type uPlot from "uplot";
import type { Chart } from "./chart.js";

declare global {
  interface Window {
    /** uPlot's own bundle, which the page holds above this script. */
    uPlot: typeof uPlot;
  }
}

const HEIGHT = 260;

/** Okabe and Ito's colours, which colour-blind readers can tell apart. */
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c"];

const WHOLE_STEPS = [1, 10, 100, 1e3, 1e4, 1e5, 1e6].flatMap((unit) => [unit, 2 * unit, 5 * unit]);

const style = getComputedStyle(document.documentElement);
const textColor = style.getPropertyValue("--text");
const gridColor = style.getPropertyValue("--grid");

function draw(element: HTMLElement, chart: Chart): void {
  const plot = new window.uPlot(
    optionsOf(chart, element.clientWidth),
    [[...chart.x], ...chart.series.map(({ values }) => [...values])],
    element,
  );
  new ResizeObserver(() => {
    plot.setSize({ width: element.clientWidth, height: HEIGHT });
  }).observe(element);
}

function optionsOf(chart: Chart, width: number): uPlot.Options {
  const { names, bars = false, cursor, logarithmic = false } = chart;
  const grid = { stroke: gridColor, width: logarithmic ? 0.5 : 1 };
  const axis = { stroke: textColor, grid, ticks: { stroke: gridColor } };
  return {
    width,
    height: HEIGHT,
    ...(cursor === undefined ? {} : { cursor: { sync: { key: cursor } } }),
    scales: {
      x: { time: false, ...(bars ? { range: [-0.6, chart.x.length - 0.4] } : {}) },
      y: scaleOf(chart),
    },
    axes: [
      {
        ...axis,
        // Epochs and steps are whole.
        incrs: WHOLE_STEPS,
        label: chart.xLabel,
        labelSize: chart.xLabel === "" ? 0 : 20,
        ...(names === undefined ? {} : namesUnder(names)),
      },
      { ...axis, label: chart.yLabel, labelSize: chart.yLabel === "" ? 0 : 20, size: 64 },
    ],
    series: [
      { label: chart.xLabel, ...(names === undefined ? {} : { value: nameOf(names) }) },
      ...chart.series.map((series): uPlot.Series => {
        const color = PALETTE[series.color % PALETTE.length]!;
        return {
          label: series.label,
          stroke: color,
          width: 2,
          ...(series.dashed === true ? { dash: [6, 4] } : {}),
          ...(bars ? barsOf(color) : {}),
          value: (_, value: number | null) => (value === null ? "–" : String(rounded(value))),
          // A line of one point is invisible.
          points: { show: !bars && chart.x.length <= 20 },
        };
      }),
    ],
  };
}

function scaleOf({ bars = false, logarithmic = false }: Chart): uPlot.Scale {
  // 3 is logarithmic; the enum has no name at run time.
  // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment
  if (logarithmic) return { distr: 3 };
  // Bars are compared by their lengths, so they start at 0.
  if (bars) return { range: (_, __, max) => [0, 1.1 * max] };
  return { range: { min: { pad: 0.1, hard: 0 }, max: { pad: 0.1 } } };
}

function barsOf(color: string): Partial<uPlot.Series> {
  const paths = window.uPlot.paths.bars?.({ size: [0.5, 120] });
  return { fill: color, ...(paths === undefined ? {} : { paths }) };
}

function namesUnder(names: readonly string[]): Partial<uPlot.Axis> {
  return {
    splits: () => names.map((_, index) => index),
    values: () => [...names],
    grid: { show: false },
  };
}

function nameOf(names: readonly string[]): uPlot.Series.Value {
  return (_, index: number | null) => names[index ?? -1] ?? "–";
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

const charts = JSON.parse(document.getElementById("charts")!.textContent) as Chart[];
document.querySelectorAll<HTMLElement>(".chart").forEach((element, index) => {
  draw(element, charts[index]!);
});
document.documentElement.dataset.drawn = String(charts.length);
