/** A page around charts, with the scripts that draw them inside. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { ChartSection } from "./chart.js";

export interface Page {
  title: string;
  subtitle: string;
  /** HTML. */
  table: string;
  /** Texts, for what went wrong. */
  notes: readonly string[];
  sections: readonly ChartSection[];
  /** HTML below the charts. */
  footer?: string;
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** A table of cells that are HTML. */
export function htmlTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const row = (cells: readonly string[], tag: string): string =>
    `<tr>${cells.map((cell) => `<${tag}>${cell}</${tag}>`).join("")}</tr>`;
  return `<div class="table"><table><thead>${row(head, "th")}</thead><tbody>${rows
    .map((cells) => row(cells, "td"))
    .join("")}</tbody></table></div>`;
}

export function htmlPage({ title, subtitle, table, notes, sections, footer = "" }: Page): string {
  const charts = sections.flatMap((section) => section.charts);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(`${title}: ${subtitle}`)}</title>
<style>${uPlotFile("uPlot.min.css")}</style>
<style>${STYLE}</style>
</head>
<body>
<header><h1>${escapeHtml(title)}</h1><p>${escapeHtml(subtitle)}</p></header>
${notes.map((note) => `<p class="failure">${escapeHtml(note)}</p>`).join("\n")}
${table}
${sections.map(sectionHtml).join("\n")}
${footer}
<script type="application/json" id="charts">${scriptSafe(JSON.stringify(charts))}</script>
<script>${uPlotFile("uPlot.iife.min.js")}
window.uPlot = uPlot;</script>
<script type="module">${pageScript()}</script>
</body>
</html>
`;
}

function sectionHtml({ heading, note, charts }: ChartSection): string {
  const figures = charts.map(
    ({ title }) =>
      `<figure><figcaption>${escapeHtml(title)}</figcaption><div class="chart"></div></figure>`,
  );
  return `<section><h2>${escapeHtml(heading)}</h2><p>${escapeHtml(note)}</p><div class="charts">${figures.join("")}</div></section>`;
}

/** A script ends at the first "</script", in a text of its data too. */
function scriptSafe(json: string): string {
  return json.replaceAll("<", "\\u003c");
}

function uPlotFile(name: string): string {
  const require = createRequire(import.meta.url);
  return readFileSync(require.resolve(`uplot/dist/${name}`), "utf8");
}

/** The compiled page.ts, without the line that points to its source map. */
function pageScript(): string {
  const script = readFileSync(new URL("./page.js", import.meta.url), "utf8");
  return script.replace(/^\/\/# sourceMappingURL=.*$/m, "");
}

const STYLE = `
:root { color-scheme: light dark; --text: #24292f; --muted: #59636e; --grid: #d8dee4; --card: #fff; --page: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --muted: #9198a1; --grid: #30363d; --card: #161b22; --page: #0d1117; }
}
body { margin: 0 auto; max-width: 1280px; padding: 24px; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 26px; } h2 { margin: 36px 0 0; font-size: 19px; }
header p, section > p { margin: 2px 0 14px; color: var(--muted); }
.failure { padding: 8px 14px; border-left: 4px solid #d55e00; background: var(--card); }
.table { overflow-x: auto; }
.table table { border-collapse: collapse; background: var(--card); font-variant-numeric: tabular-nums; }
.table th, .table td { padding: 7px 14px; border: 1px solid var(--grid); text-align: right; }
.table th:first-child, .table td:first-child { text-align: left; }
.table th { color: var(--muted); font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); gap: 18px; }
figure { margin: 0; padding: 14px 14px 8px; min-width: 0; border: 1px solid var(--grid); border-radius: 8px; background: var(--card); }
figcaption { margin-bottom: 6px; font-weight: 600; }
.u-legend { font-size: 13px; text-align: left; } .u-legend th { font-weight: 500; } .u-legend .u-value { font-variant-numeric: tabular-nums; }
`;
