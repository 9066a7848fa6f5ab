/**
 * Draws accuracy over batch size, one line an optimizer, as two SVGs: for light and for dark pages.
 *
 *   npm run figures -- <table.json> <output>    writes <output>-light.svg and <output>-dark.svg
 *
 * The table: { title, batchSizes, optimizers, mean, low, high }. `mean[i][j]` is the accuracy, from 0 to 1, of
 * `optimizers[i]` at `batchSizes[j]`; `low` and `high` are the range over seeds. null: not measured.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import * as echarts from "echarts";

/**
 * @typedef {(number | null)[][]} Accuracies
 * @typedef {{ title: string; batchSizes: number[]; optimizers: string[]; mean: Accuracies; low: Accuracies; high: Accuracies }} Table
 * @typedef {"light" | "dark"} Theme
 */

const SIZE = { width: 820, height: 420 };

/** Text, grid, and one colour a line: Okabe and Ito's, which people with colour blindness tell apart. */
const THEMES = {
  light: {
    text: "#1f2328",
    muted: "#59636e",
    grid: "#d1d9e0",
    lines: ["#0072b2", "#d55e00", "#009e73", "#aa4499", "#7f6000", "#0f7b8a", "#59636e"],
  },
  dark: {
    text: "#f0f6fc",
    muted: "#9198a1",
    grid: "#3d444d",
    lines: ["#58a6ff", "#f0883e", "#3fb950", "#d2a8ff", "#e3b341", "#79e0f2", "#9198a1"],
  },
};

/** Colour is not all that tells lines apart. */
const DASHES = ["solid", [7, 4], [2, 3], [9, 3, 2, 3], [4, 2], [12, 4], [1, 2]];
const HOLLOW = ["emptyCircle", "emptyTriangle", "emptyRect"];
const SYMBOLS = ["circle", "triangle", "rect", "diamond", ...HOLLOW];

/**
 * The chart as the text of an SVG file.
 *
 * @param {unknown} given
 * @param {Theme} theme
 * @returns {string}
 * @throws {TypeError | RangeError} for a table that is not as described above
 */
export function render(given, theme) {
  const table = checkedTable(given);
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, ...SIZE });
  chart.setOption(optionsOf(table, THEMES[theme]));
  const svg = chart.renderToSVGString({ useViewBox: true });
  chart.dispose();
  return withDescription(withoutHover(svg), table);
}

/**
 * Without ECharts' styles for a pointer, and without the count of the process's charts in its ids: the same table
 * gives the same file.
 *
 * @param {string} svg
 * @returns {string}
 */
function withoutHover(svg) {
  return svg
    .replaceAll(/ class="[^"]*"| pointer-events="visible"|<style.*?<\/style>\n?/gs, "")
    .replaceAll(/zr\d+-/g, "");
}

/**
 * @param {Table} table
 * @param {typeof THEMES.light} colours
 * @returns {echarts.EChartsCoreOption}
 */
function optionsOf(table, colours) {
  const { title, batchSizes, optimizers } = table;
  const text = { color: colours.muted, fontSize: 13 };
  const axisLine = { lineStyle: { color: colours.grid } };
  return {
    animation: false,
    backgroundColor: "transparent",
    textStyle: { fontFamily: "system-ui, sans-serif" },
    title: { text: title, left: 8, silent: true, textStyle: { color: colours.text, fontSize: 16 } },
    grid: { left: 64, right: 150, top: 52, bottom: 52 },
    xAxis: {
      type: "log",
      logBase: 2,
      min: batchSizes[0],
      max: batchSizes.at(-1),
      name: "batch size",
      nameLocation: "middle",
      nameGap: 30,
      nameTextStyle: text,
      axisLine,
      axisTick: { customValues: batchSizes },
      axisLabel: {
        ...text,
        customValues: batchSizes,
        formatter: (/** @type {number} */ size) => Math.round(size).toLocaleString("en"),
      },
      splitLine: { show: false },
    },
    yAxis: {
      type: "value",
      scale: true,
      name: "test accuracy",
      nameLocation: "middle",
      nameGap: 48,
      nameTextStyle: text,
      axisLabel: {
        ...text,
        formatter: (/** @type {number} */ y) => `${Number((100 * y).toFixed(1))} %`,
      },
      splitLine: axisLine,
    },
    series: optimizers.flatMap((_, index) => seriesOf(table, index, colours)),
  };
}

/**
 * A line through the means with its name at the end, and a bar from low to high at each point.
 *
 * @param {Table} table
 * @param {number} index
 * @param {typeof THEMES.light} colours
 * @returns {object[]}
 */
function seriesOf({ batchSizes, optimizers, mean, low, high }, index, colours) {
  const color = colours.lines[index % colours.lines.length];
  const measured = batchSizes.flatMap((size, at) => {
    const [middle, least, most] = [mean[index][at], low[index][at], high[index][at]];
    return middle === null || least === null || most === null ? [] : [[size, middle, least, most]];
  });
  return [
    {
      type: "line",
      silent: true,
      name: optimizers[index],
      data: measured,
      symbol: SYMBOLS[index % SYMBOLS.length],
      symbolSize: 8,
      itemStyle: { color },
      lineStyle: { color, width: 2.5, type: DASHES[index % DASHES.length] },
      endLabel: { show: true, formatter: "{a}", color, fontSize: 13, fontWeight: 600, distance: 8 },
      labelLayout: { moveOverlap: "shiftY" },
    },
    {
      type: "custom",
      silent: true,
      data: measured,
      encode: { x: 0, y: [2, 3] },
      renderItem: rangeBar(color),
    },
  ];
}

/**
 * @param {string} stroke
 * @returns {echarts.CustomSeriesRenderItem}
 */
function rangeBar(stroke) {
  return (_params, api) => {
    const [x, bottom] = api.coord([api.value(0), api.value(2)]);
    const [, top] = api.coord([api.value(0), api.value(3)]);
    return {
      type: "line",
      shape: { x1: x, y1: bottom, x2: x, y2: top },
      style: { stroke, lineWidth: 6, opacity: 0.35 },
    };
  };
}

/**
 * Every number of the chart as text, for who does not see it.
 *
 * @param {string} svg
 * @param {Table} table
 * @returns {string}
 */
function withDescription(svg, { title, batchSizes, optimizers, mean }) {
  const percent = (/** @type {number | null} */ accuracy) =>
    accuracy === null ? "not measured" : `${(100 * accuracy).toFixed(2)} %`;
  const lines = optimizers.map((name, index) => {
    const values = batchSizes.map((size, at) => `${percent(mean[index][at])} at ${size}`);
    return `${name}: ${values.join(", ")}.`;
  });
  const described = `<title>${escaped(title)}</title><desc>${escaped(lines.join(" "))}</desc>`;
  return `${svg.replace(/<svg [^>]*>/, (tag) => `${tag.replace("<svg ", '<svg role="img" ')}\n${described}`)}\n`;
}

/** @param {string} text */
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/**
 * @param {unknown} given
 * @returns {Table}
 */
function checkedTable(given) {
  if (typeof given !== "object" || given === null) refuse("table", "an object", given);
  const table = /** @type {Record<string, unknown>} */ (given);
  const { title, batchSizes, optimizers } = table;
  if (typeof title !== "string") refuse("title", "a string", title);
  if (!isListOf(batchSizes, (size, at, all) => Number(size) > (at === 0 ? 0 : Number(all[at - 1]))))
    refuse("batchSizes", "ascending numbers > 0", batchSizes);
  if (!isListOf(optimizers, (name) => typeof name === "string"))
    refuse("optimizers", "a list of names", optimizers);
  const { length: lines } = /** @type {unknown[]} */ (optimizers);
  const { length: points } = /** @type {unknown[]} */ (batchSizes);
  for (const name of ["mean", "low", "high"]) {
    const rows = table[name];
    const fits = (/** @type {unknown} */ row) =>
      isListOf(row, isAccuracy) && /** @type {unknown[]} */ (row).length === points;
    if (!isListOf(rows, fits) || /** @type {unknown[]} */ (rows).length !== lines)
      refuse(name, `${lines} lists of ${points} accuracies from 0 to 1, or null`, rows);
  }
  return /** @type {Table} */ (given);
}

/**
 * @param {unknown} value
 * @param {(element: unknown, index: number, all: unknown[]) => boolean} accepts
 */
function isListOf(value, accepts) {
  return Array.isArray(value) && value.length > 0 && value.every(accepts);
}

/** @param {unknown} value */
function isAccuracy(value) {
  return value === null || (typeof value === "number" && value >= 0 && value <= 1);
}

/**
 * @param {string} name
 * @param {string} expected
 * @param {unknown} got
 * @returns {never}
 */
function refuse(name, expected, got) {
  throw new TypeError(`${name}: expected ${expected}, got ${JSON.stringify(got)}`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [table, output] = process.argv.slice(2);
  if (table === undefined || output === undefined) {
    console.error("Usage: npm run figures -- <table.json> <output>");
    process.exit(2);
  }
  const given = JSON.parse(readFileSync(table, "utf8"));
  for (const theme of /** @type {Theme[]} */ (["light", "dark"])) {
    writeFileSync(`${output}-${theme}.svg`, render(given, theme));
  }
}
