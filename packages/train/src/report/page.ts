/** Runs in the browser: draws the charts that the page holds as JSON. */
import type uPlot from "uplot";
import type { Chart, ChartSeries, Marker } from "./chart.js";
import { logTicks, shortNumber } from "./ticks.js";

declare global {
  interface Window {
    /** uPlot's own bundle, which the page embeds above this script. */
    uPlot: typeof uPlot;
  }
}

const HEIGHT = 230;
const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const DASH = [7, 5];
/** Marker size for a line 2 pixels wide. */
const MARKER_SIZE = 4;
const PICK_SIZE = 8;
const RANGE_DISTANCE = 5;
/** Lines of more points than this have markers at a few places only. */
const MAX_MARKED = 20;
const MARKERS_ON_LINE = 8;
/** Smallest distance of labels on the x axis; closer ones overlap. */
const LABEL_GAP = 14;
/** Rows of a chart's table; the numbers between them are in metrics.jsonl. */
const MAX_ROWS = 60;

const WHOLE_STEPS = [1, 10, 100, 1e3, 1e4, 1e5, 1e6].flatMap((unit) => [unit, 2 * unit, 5 * unit]);

/** A variable of the page's style, in the current colour scheme. */
function styled(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The elements of one figure. */
interface Figure {
  element: HTMLElement;
  legend: HTMLElement;
  details: HTMLDetailsElement;
}

function draw({ element, legend, details }: Figure, chart: Chart): () => void {
  const create = (): uPlot =>
    new window.uPlot(
      optionsOf(chart, element.clientWidth),
      [[...chart.x], ...chart.series.map(({ values }) => [...values])],
      element,
    );
  let plot = create();
  const items = chart.series.map((series, index) => {
    const item = legendItem(series, (show) => {
      plot.setSeries(index + 1, { show });
    });
    legend.append(item.element);
    return item;
  });
  const showValues = (): void => {
    const { idx } = plot.cursor;
    items.forEach((item, index) => {
      item.show(valueAt(chart.series[index]!, idx));
    });
  };
  const begin = (): void => {
    plot.hooks.setCursor = [showValues];
    showValues();
  };
  begin();
  new ResizeObserver(() => {
    plot.setSize({ width: element.clientWidth, height: HEIGHT });
  }).observe(element);
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(...dataTable(chart));
  });
  return () => {
    plot.destroy();
    plot = create();
    items.forEach((item, index) => {
      if (!item.isOn()) plot.setSeries(index + 1, { show: false });
    });
    begin();
  };
}

/** The value under the cursor, else the last one. */
function valueAt({ values }: ChartSeries, index: number | null | undefined): string {
  const value =
    typeof index === "number" ? values[index] : values.findLast((candidate) => candidate !== null);
  return value === null || value === undefined ? "–" : shortNumber(value);
}

function optionsOf(chart: Chart, width: number): uPlot.Options {
  const { cursor, logX = false, logY = false } = chart;
  const text = styled("text");
  const line = { stroke: styled("line"), width: 1 };
  const axis = { stroke: text, font: FONT, grid: line, ticks: { ...line, size: 5 } };
  return {
    width,
    height: HEIGHT,
    padding: [10, 14, 0, 0],
    legend: { show: false },
    cursor: {
      ...(cursor === undefined ? {} : { sync: { key: cursor } }),
      points: { size: 9 },
    },
    scales: {
      x: { time: false, ...(logX ? { distr: LOGARITHMIC, range: logRange(1.12) } : {}) },
      y: logY ? { distr: LOGARITHMIC, range: logRangeOf(chart) } : { range: linearRangeOf(chart) },
    },
    axes: [
      {
        ...axis,
        label: chart.xLabel,
        labelFont: FONT,
        labelSize: 18,
        size: 30,
        // Epochs and steps are whole.
        ...(logX ? logAxis(chart.xTicks) : { incrs: WHOLE_STEPS }),
        filter: dropCrowded,
        values: (_, places: (number | null)[]) => places.map(textOf),
      },
      {
        ...axis,
        // Before the first layout there are no labels.
        size: (_, texts: (string | null)[] | null) =>
          18 + 7 * Math.max(2, ...(texts ?? []).map((label) => label?.length ?? 0)),
        space: 34,
        ...(logY ? logAxis() : {}),
        values: (_, places: (number | null)[]) => places.map(textOf),
      },
    ],
    series: [{}, ...chart.series.map(seriesOf)],
    hooks: {
      drawSeries: [
        (plot, index) => {
          const series = chart.series[index - 1];
          if (series !== undefined) drawMarks(plot, index, series);
        },
      ],
    },
  };
}

/** uPlot's number for logarithmic scales; the enum has no name at run time. */
// eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment
const LOGARITHMIC: uPlot.Scale.Distr = 3;

function seriesOf({
  label,
  color,
  width = 2,
  dashed = false,
  isPick = false,
}: ChartSeries): uPlot.Series {
  return {
    label,
    stroke: styled(color),
    width: isPick ? 0 : width,
    ...(dashed ? { dash: DASH } : {}),
    // Optimizers that are at different steps share an x axis.
    spanGaps: true,
    points: { show: false },
  };
}

/** Own ticks: uPlot labels only powers of ten, and a chart may show none. */
function logAxis(ticks?: readonly number[]): Partial<uPlot.Axis> {
  return {
    splits: (_, __, min, max) =>
      ticks?.filter((tick) => tick >= min && tick <= max) ?? logTicks(min, max),
    filter: (_, places) => places,
  };
}

/** A range of a logarithmic scale, a little wider than its values. */
function logRange(factor: number): uPlot.Scale.Range {
  return (_, min, max) => (min > 0 && max > 0 ? [min / factor, max * factor] : [0.1, 10]);
}

function logRangeOf(chart: Chart): uPlot.Scale.Range {
  const extremes = extremesOf(chart).filter((value) => value > 0);
  return (plot, min, max, key) => {
    const all = [min, max, ...extremes].filter((value) => value > 0);
    const range = logRange(1.2) as (...values: unknown[]) => [number, number];
    return range(plot, Math.min(...all), Math.max(...all), key);
  };
}

function linearRangeOf(chart: Chart): uPlot.Scale.Range {
  const isPercent = chart.unit === "%";
  const extremes = extremesOf(chart);
  return (_, min, max) => {
    const all = [min, max, ...extremes].filter((value) => Number.isFinite(value));
    if (all.length === 0) return [0, 1];
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const space = 0.08 * (high - low) || 0.05 * Math.abs(high) || 1;
    const top = high + space;
    // Below 0 % or above 100 % there are no values, so the axis ends there.
    return [
      low >= 0 ? Math.max(0, low - space) : low - space,
      isPercent ? Math.min(top, 101) : top,
    ];
  };
}

/** The ends of range bars, which uPlot does not know. */
function extremesOf({ series }: Chart): number[] {
  return series.flatMap(({ low = [], high = [] }) =>
    [...low, ...high].filter((value) => value !== null),
  );
}

/** Leaves out labels that would overlap the previous one. */
function dropCrowded(plot: uPlot, places: number[]): (number | null)[] {
  let end = -Infinity;
  return places.map((place) => {
    const middle = plot.valToPos(place, "x");
    const half = 3.4 * textOf(place).length;
    if (middle - half < end) return null;
    end = middle + half + LABEL_GAP;
    return place;
  });
}

function textOf(place: number | null): string {
  return place === null ? "" : shortNumber(place);
}

/** Markers and range bars over a line. */
function drawMarks(plot: uPlot, index: number, series: ChartSeries): void {
  if (plot.series[index]!.show === false) return;
  const { ctx } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  const { left, top, width, height } = plot.bbox;
  const margin = PICK_SIZE * ratio;
  ctx.rect(left - margin, top - margin, width + 2 * margin, height + 2 * margin);
  ctx.clip();
  ctx.strokeStyle = ctx.fillStyle = styled(series.color);
  ctx.lineWidth = 2 * ratio;
  // Range bars of several series at the same x stand beside each other.
  const shift = (index - plot.series.length / 2) * RANGE_DISTANCE * ratio;
  for (const place of markedPlaces(plot, index, series)) {
    const x = plot.valToPos(plot.data[0][place]!, "x", true);
    const y = (value: number): number => plot.valToPos(value, "y", true);
    const low = series.low?.[place] ?? null;
    const high = series.high?.[place] ?? null;
    if (low !== null && high !== null) {
      drawRange(ctx, { x: x + shift, from: y(low), to: y(high), ratio });
    }
    const at = { x, y: y(series.values[place]!) };
    if (series.isPick === true) strokeRing(ctx, at, PICK_SIZE * ratio);
    else fillMarker(ctx, series.marker, { ...at, size: markerSize(series) * ratio });
  }
  ctx.restore();
}

/** Every point of a short line; a few of a long one, at different positions for each series. */
function markedPlaces(
  plot: uPlot,
  index: number,
  { values, marker, isPick }: ChartSeries,
): number[] {
  const { min = 0, max = 0 } = plot.scales.x!;
  const known = values.flatMap((value, place) => {
    const x = plot.data[0][place]!;
    return value !== null && x >= min && x <= max ? [place] : [];
  });
  if (isPick === true || known.length <= MAX_MARKED) return known;
  if (marker === undefined) return [];
  const shift = index / plot.series.length;
  return Array.from({ length: MARKERS_ON_LINE }, (_, count) => {
    return known[Math.floor(((count + shift) * known.length) / MARKERS_ON_LINE)]!;
  });
}

/** Wide lines have large markers, which stay visible under those of narrow lines. */
function markerSize({ width = 2 }: ChartSeries): number {
  return MARKER_SIZE + 0.6 * (width - 2);
}

function drawRange(
  ctx: CanvasRenderingContext2D,
  { x, from, to, ratio }: { x: number; from: number; to: number; ratio: number },
): void {
  const cap = 4 * ratio;
  ctx.beginPath();
  ctx.moveTo(x, from);
  ctx.lineTo(x, to);
  for (const end of [from, to]) {
    ctx.moveTo(x - cap, end);
    ctx.lineTo(x + cap, end);
  }
  ctx.stroke();
}

function strokeRing(
  ctx: CanvasRenderingContext2D,
  at: { x: number; y: number },
  size: number,
): void {
  ctx.beginPath();
  ctx.arc(at.x, at.y, size, 0, 2 * Math.PI);
  ctx.stroke();
}

function fillMarker(
  ctx: CanvasRenderingContext2D,
  marker: Marker | undefined,
  { x, y, size }: { x: number; y: number; size: number },
): void {
  if (marker === undefined) return;
  ctx.save();
  ctx.translate(x, y);
  ctx.scale(size, size);
  ctx.fill(new Path2D(MARKER_PATHS[marker]));
  ctx.restore();
}

/** Outlines around 0, 0, of about the same area. */
const MARKER_PATHS: Readonly<Record<Marker, string>> = {
  circle: "M1 0A1 1 0 1 1 -1 0A1 1 0 1 1 1 0Z",
  square: "M-.9 -.9H.9V.9H-.9Z",
  diamond: "M0 -1.3L1.3 0L0 1.3L-1.3 0Z",
  triangle: "M0 -1.25L1.2 .95H-1.2Z",
  cross: "M-1.2 -.7L-.7 -1.2L0 -.5L.7 -1.2L1.2 -.7L.5 0L1.2 .7L.7 1.2L0 .5L-.7 1.2L-1.2 .7L-.5 0Z",
  plus: "M-.4 -1.3H.4V-.4H1.3V.4H.4V1.3H-.4V.4H-1.3V-.4H-.4Z",
};

/** A legend entry, which shows or hides its series. */
interface LegendItem {
  element: HTMLElement;
  show(value: string): void;
  isOn(): boolean;
}

function legendItem(series: ChartSeries, onToggle: (show: boolean) => void): LegendItem {
  const element = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-pressed", "true");
  const value = document.createElement("span");
  value.className = "value";
  button.append(lineSample(series), series.label, value);
  button.addEventListener("click", () => {
    const show = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(show));
    onToggle(show);
  });
  element.append(button);
  return {
    element,
    show: (text) => {
      value.textContent = text;
    },
    isOn: () => button.getAttribute("aria-pressed") === "true",
  };
}

/** A small picture of how a series is drawn. */
function lineSample(series: ChartSeries): SVGElement {
  const { color, width = 2, dashed = false, marker, isPick = false } = series;
  const make = (name: string, attributes: Record<string, string>): SVGElement => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const svg = make("svg", {
    width: "34",
    height: "18",
    viewBox: "-17 -9 34 18",
    "aria-hidden": "true",
  });
  const stroke = `var(--${color})`;
  if (isPick) {
    svg.append(
      make("circle", { r: "6", fill: "none", style: `stroke:${stroke}`, "stroke-width": "2" }),
    );
    return svg;
  }
  svg.append(
    make("path", {
      d: "M-16 0H16",
      style: `stroke:${stroke}`,
      "stroke-width": String(width),
      ...(dashed ? { "stroke-dasharray": "6 4" } : {}),
    }),
  );
  if (marker !== undefined) {
    const transform = `scale(${markerSize(series)})`;
    svg.append(make("path", { d: MARKER_PATHS[marker], transform, style: `fill:${stroke}` }));
  }
  return svg;
}

/** The chart as a sentence and a table. */
function dataTable(chart: Chart): HTMLElement[] {
  const sentence = document.createElement("p");
  const count = chart.x.length;
  const stride = Math.max(1, Math.ceil(count / MAX_ROWS));
  const shown = chart.x.flatMap((_, index) => ((count - 1 - index) % stride === 0 ? [index] : []));
  const some =
    stride === 1 ? "" : `${String(shown.length)} of the ${String(count)} points are listed.`;
  sentence.textContent = some;
  const box = document.createElement("div");
  box.className = "table";
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", `${chart.title}, as numbers`);
  const table = document.createElement("table");
  const addRow = (parent: HTMLElement, texts: readonly string[], isHead: boolean): void => {
    const row = document.createElement("tr");
    texts.forEach((text, index) => {
      const cell = document.createElement(isHead || index === 0 ? "th" : "td");
      if (isHead) cell.setAttribute("scope", "col");
      else if (index === 0) cell.setAttribute("scope", "row");
      cell.textContent = text;
      row.append(cell);
    });
    parent.append(row);
  };
  addRow(table.createTHead(), [chart.xLabel, ...chart.series.map(({ label }) => label)], true);
  const body = table.createTBody();
  for (const index of shown) {
    const values = chart.series.map((series) => {
      const value = series.values[index] ?? null;
      return value === null ? "–" : shortNumber(value);
    });
    addRow(body, [shortNumber(chart.x[index]!), ...values], false);
  }
  box.append(table);
  return some === "" ? [box] : [sentence, box];
}

const charts = JSON.parse(document.getElementById("charts")!.textContent) as Chart[];
const redraw = [...document.querySelectorAll("figure")].map((figure, index) => {
  const parts: Figure = {
    element: figure.querySelector<HTMLElement>(".chart")!,
    legend: figure.querySelector<HTMLElement>(".legend")!,
    details: figure.querySelector("details")!,
  };
  return draw(parts, charts[index]!);
});
const redrawAll = (): void => {
  for (const again of redraw) again();
};
// A canvas keeps the colours it was drawn with, so it is drawn again.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
matchMedia("print").addEventListener("change", redrawAll);
document.documentElement.dataset.drawn = String(charts.length);
