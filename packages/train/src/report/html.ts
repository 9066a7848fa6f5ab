/** A page around charts, with the scripts that draw them inside. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describeChart } from "./chart-text.js";
import type { Chart, ChartSeries, Section } from "./chart.js";
import { STYLE } from "./style.js";

export interface Page {
  /** The subject of the page, in a few words. */
  subject: string;
  /** The result, in one sentence. */
  heading: string;
  /** The setting of the run. */
  facts: string;
  /** Warnings. */
  failures: readonly string[];
  /** Notes. */
  notes: readonly string[];
  /** HTML above the sections. */
  summary: string;
  sections: readonly Section[];
  /** When and with what it was written. */
  footer: string;
}

export interface HtmlTable {
  /** Accessible name of the table. */
  label: string;
  /** Cells are HTML. Empty for a table without headings of columns. The first cell of a row is its heading. */
  head: readonly string[];
  rows: readonly (readonly string[])[];
  /** How many columns have texts, 1 by default; the others have numbers. */
  texts?: number;
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** A table that scrolls in its box where it is wider than the page. */
export function htmlTable({ label, head, rows, texts = 1 }: HtmlTable): string {
  const side = (column: number): string => (column < texts ? ' class="text"' : "");
  const headCells = head
    .map((cell, column) => `<th scope="col"${side(column)}>${cell}</th>`)
    .join("");
  const headHtml = head.length === 0 ? "" : `<thead><tr>${headCells}</tr></thead>`;
  const bodyRows = rows.map(([first = "", ...cells]) => {
    const rest = cells.map((cell, column) => `<td${side(column + 1)}>${cell}</td>`).join("");
    return `<tr><th scope="row">${first}</th>${rest}</tr>`;
  });
  return scrollBox(label, `<table>${headHtml}<tbody>${bodyRows.join("")}</tbody></table>`);
}

/** A box that scrolls on its own, with the keyboard too. */
export function scrollBox(label: string, html: string): string {
  return `<div class="table" role="group" tabindex="0" aria-label="${escapeHtml(label)}">${html}</div>`;
}

/** The colour of a series before its name. */
export function swatch(color: string, name: string): string {
  return `<span class="swatch" style="--swatch:var(--${color})"></span>${escapeHtml(name)}`;
}

export function htmlPage(page: Page): string {
  const { subject, heading, facts, failures, notes, summary, sections, footer } = page;
  const charts = sections.flatMap((section) => section.charts);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(`${subject}: ${heading}`)}</title>
<style>${uPlotFile("uPlot.min.css")}</style>
<style>${STYLE}</style>
</head>
<body>
<header>
<p class="subject">${escapeHtml(subject)}</p>
<h1>${escapeHtml(heading)}</h1>
<p class="facts">${escapeHtml(facts)}</p>
</header>
<main>
${failures.map((text) => `<p class="failure">${escapeHtml(text)}</p>`).join("\n")}
${summary}
${notes.map((text) => `<p class="note">${escapeHtml(text)}</p>`).join("\n")}
<noscript><p class="note">The charts need JavaScript. The tables don’t.</p></noscript>
${navigation(sections)}
${sections.map(sectionHtml).join("\n")}
</main>
<footer><p>${escapeHtml(footer)}</p></footer>
<script type="application/json" id="charts">${scriptSafe(JSON.stringify(charts.map(compact)))}</script>
<script>${uPlotFile("uPlot.iife.min.js")}
window.uPlot = uPlot;</script>
<script type="module">${pageScript()}</script>
</body>
</html>
`;
}

function navigation(sections: readonly Section[]): string {
  if (sections.length < 3) return "";
  const links = sections.map(
    ({ id, heading }) => `<li><a href="#${escapeHtml(id)}">${escapeHtml(heading)}</a></li>`,
  );
  return `<nav aria-label="Sections"><ul>${links.join("")}</ul></nav>`;
}

function sectionHtml({ id, heading, note, charts, html = "" }: Section): string {
  const figures =
    charts.length === 0 ? "" : `<div class="charts">${charts.map(figureHtml).join("")}</div>`;
  const noteHtml = note === "" ? "" : `<p>${escapeHtml(note)}</p>`;
  return `<section id="${escapeHtml(id)}"><h2>${escapeHtml(heading)}</h2>${noteHtml}${figures}${html}</section>`;
}

function figureHtml(chart: Chart): string {
  const { title, unit } = chart;
  const unitHtml = unit === "" ? "" : ` <span class="unit">${escapeHtml(unit)}</span>`;
  const text = escapeHtml(describeChart(chart));
  return `<figure><figcaption>${escapeHtml(title)}${unitHtml}</figcaption><div class="chart" role="img" aria-label="${text}"></div><ul class="legend"></ul><details><summary>Data of this chart</summary></details></figure>`;
}

/** Five digits are more than a chart can show. */
function compact(chart: Chart): Chart {
  const rounded = (values: readonly (number | null)[]): (number | null)[] =>
    values.map((value) => (value === null ? null : Number(value.toPrecision(5))));
  const series = chart.series.map(({ low, high, ...own }): ChartSeries => {
    const range = low && high ? { low: rounded(low), high: rounded(high) } : {};
    return { ...own, ...range, values: rounded(own.values) };
  });
  return { ...chart, series };
}

/** Escapes "</script", which would end the script even inside its data. */
function scriptSafe(json: string): string {
  return json.replaceAll("<", "\\u003c");
}

function uPlotFile(name: string): string {
  const require = createRequire(import.meta.url);
  return readFileSync(require.resolve(`uplot/dist/${name}`), "utf8");
}

/** The compiled scripts as one module: embedded scripts can't import each other. */
function pageScript(): string {
  return ["./ticks.js", "./page.js"]
    .map((name) => readFileSync(new URL(name, import.meta.url), "utf8"))
    .join("\n")
    .replace(/^import .*$/gm, "")
    .replace(/^export (?=function|const|\{)/gm, "")
    .replace(/^\/\/# sourceMappingURL=.*$/gm, "");
}
