/** The pages that a run and a sweep write, opened in a browser without a network. */
import { readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type axe from "axe-core";
import fc from "fast-check";
import { chromium } from "playwright-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
// What was built: a page has the compiled scripts inside.
import { escapeHtml, htmlPage } from "../dist/report/html.js";
import { logTicks, shortNumber } from "../dist/report/ticks.js";
import { findChromium } from "./helpers/chromium.js";
import { runCli } from "./helpers/cli.js";
import { idxFiles, temporaryFolder, writeFiles } from "./helpers/data.js";
import { EVIL, fullReport, longReport } from "./helpers/report.js";

const executablePath = findChromium();
const temporary = temporaryFolder();
afterAll(temporary.remove);

/** What a page shows of one chart. */
interface DrawnChart {
  title: string;
  series: string[];
  /** Pixels of each series' colour, in the order of the series. */
  pixels: number[];
  /** Texts on the axes. */
  xTexts: string[];
  yTexts: string[];
}

/** A page that was opened, with everything that it asked for or complained about. */
interface Opened {
  page: Page;
  requests: string[];
  errors: string[];
}

interface View {
  width: number;
  scheme: "light" | "dark";
}

const VIEWS: View[] = [1440, 390].flatMap((width): View[] => [
  { width, scheme: "light" },
  { width, scheme: "dark" },
]);

async function open(
  browser: Browser,
  file: string,
  { width, scheme }: View = { width: 1280, scheme: "light" },
): Promise<Opened> {
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme: scheme });
  const requests: string[] = [];
  const errors: string[] = [];
  page.on("request", (request) => requests.push(request.url()));
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("dialog", (dialog) => {
    errors.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  // What is on a canvas can't be read back as text: it is written down as it is drawn.
  await page.addInitScript(() => {
    const { prototype } = CanvasRenderingContext2D;
    // eslint-disable-next-line @typescript-eslint/unbound-method
    const { fillText } = prototype;
    prototype.fillText = function (text, x, y, maxWidth): void {
      const known = this.canvas.dataset.texts ?? "[]";
      const texts = JSON.parse(known) as { text: string; align: string }[];
      texts.push({ text, align: this.textAlign });
      this.canvas.dataset.texts = JSON.stringify(texts);
      fillText.call(this, text, x, y, ...(maxWidth === undefined ? [] : [maxWidth]));
    };
  });
  await page.goto(pathToFileURL(file).href);
  await page.waitForSelector("html[data-drawn]");
  // uPlot draws after the script has run.
  await page.waitForFunction(() =>
    [...document.querySelectorAll("canvas")].every(({ dataset }) => dataset.texts !== undefined),
  );
  return { page, requests, errors };
}

function drawnCharts(page: Page): Promise<DrawnChart[]> {
  return page.$$eval("figure", (figures) =>
    figures.map((figure) => {
      const canvas = figure.querySelector("canvas")!;
      const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
      const counts = new Map<string, number>();
      for (let pixel = 0; pixel < data.length; pixel += 4) {
        if (data[pixel + 3] !== 255) continue;
        const color = data.slice(pixel, pixel + 3).join(", ");
        counts.set(color, (counts.get(color) ?? 0) + 1);
      }
      const items = [...figure.querySelectorAll(".legend button")];
      const texts = JSON.parse(canvas.dataset.texts ?? "[]") as { text: string; align: string }[];
      const textsOf = (align: string): string[] =>
        texts.filter((own) => own.align === align && own.text !== "").map(({ text }) => text);
      return {
        title: figure.querySelector("figcaption")!.textContent.trim(),
        series: items.map((item) => item.childNodes[1]!.textContent ?? ""),
        pixels: items.map((item) => {
          const { stroke } = getComputedStyle(item.querySelector("svg > *")!);
          return counts.get(stroke.replace(/^rgb\((.*)\)$/, "$1")) ?? 0;
        }),
        xTexts: textsOf("center"),
        yTexts: textsOf("right"),
      };
    }),
  );
}

/** Everything that is wider than the page; boxes that scroll may hold more than they show. */
function cutElements(page: Page): Promise<string[]> {
  return page.evaluate(() =>
    [...document.body.querySelectorAll("*")]
      .filter((element) => element.closest(".table") === null || element.matches(".table"))
      .filter((element) => {
        const { left, right } = element.getBoundingClientRect();
        return left < 0 || right > innerWidth;
      })
      .map((element) => element.outerHTML.slice(0, 120)),
  );
}

/** Unfolds some tables of charts: all of them would take axe-core half a minute. */
async function unfold(page: Page): Promise<void> {
  for (const summary of (await page.$$("summary")).slice(0, 3)) await summary.click();
}

/** What axe-core finds serious or critical. */
async function seriousFindings(page: Page): Promise<string[]> {
  const source = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
  await page.addScriptTag({ path: source });
  const { violations } = await page.evaluate(() =>
    (window as unknown as { axe: typeof axe }).axe.run(),
  );
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`));
}

describe.skipIf(executablePath === null)("in Chromium", () => {
  let browser: Browser;
  const run = join(temporary.path, "run");
  const sweep = join(temporary.path, "sweep");
  const full = join(temporary.path, "full.html");

  beforeAll(async () => {
    const data = writeFiles(join(temporary.path, "data"), idxFiles());
    const options = ["--data", data, "--hidden", "32", "--micro-batch", "32", "--epochs", "3"];
    const optimizer = ["--optimizer", "lars8bit,sgd", "--lr", "1"];
    const trained = await runCli([...options, ...optimizer, "--batch-size", "64", "--out", run]);
    expect(trained).toMatchObject({ code: 0, stderr: "" });
    const grid = ["--optimizer", "sgd,lars8bit", "--batch-size", "64,120", "--seeds", "1,2"];
    const rates = ["--lr", "0.3,1"];
    const swept = await runCli(["sweep", ...options, ...grid, ...rates, "--out", sweep]);
    expect(swept).toMatchObject({ code: 0, stderr: "" });
    writeFiles(temporary.path, { "full.html": fullReport() });
    browser = await chromium.launch({ executablePath: executablePath!, args: ["--no-sandbox"] });
  });
  afterAll(async () => {
    await browser.close();
  });

  test("the report of a run draws every chart, asks for no other file, and reports no error", async () => {
    const file = join(run, "report.html");
    const { page, requests, errors } = await open(browser, file);
    expect({ requests, errors }).toEqual({ requests: [pathToFileURL(file).href], errors: [] });
    const charts = await drawnCharts(page);
    expect(charts.map(({ title }) => title)).toEqual([
      "Accuracy %",
      "Loss",
      "Training loss, step by step",
      "Norm of the gradient",
      "Gradient noise scale samples",
      "Time of a step ms",
      // lars8bit
      "Trust ratio",
      "Rate × trust ratio",
      "Learning rate",
      "Norm of the weights",
      "Norm of the gradient",
      "Norm of the update",
      "Gradient noise scale samples",
      // sgd
      "Learning rate",
      "Norm of the weights",
      "Norm of the gradient",
      "Norm of the update",
      "Gradient noise scale samples",
    ]);
    for (const { title, series, pixels } of charts) {
      pixels.forEach((count, index) => {
        expect(count, `${title}: ${series[index]!}`).toBeGreaterThan(20);
      });
    }
    expect(charts[0]!.series).toContain("lars8bit, test");
    expect(charts[6]!.series).toContain("dense2/kernel");
    const heading = await page.textContent("h1");
    expect(heading).toMatch(/reached \d+\.\d+\s% test accuracy, \w+\s\d+\.\d+\s%$/);
    const table = await page.textContent("table");
    expect(table).toMatch(/lars8bit.*KB.*sgd/s);
    await page.close();
  });

  test("axes have labels, logarithmic ones too", async () => {
    for (const file of [join(run, "report.html"), full, join(sweep, "summary.html")]) {
      const { page } = await open(browser, file, { width: 390, scheme: "light" });
      for (const { title, xTexts, yTexts } of await drawnCharts(page)) {
        const ends = new Set(yTexts);
        expect(ends.size, `${title}: y`).toBeGreaterThanOrEqual(2);
        // The name of the axis is among them.
        expect(new Set(xTexts).size, `${title}: x`).toBeGreaterThanOrEqual(3);
      }
      await page.close();
    }
  });

  test("a chart without values stays empty: the check of the colours can fail", async () => {
    const chart = { title: "none", unit: "", xLabel: "step", x: [1, 2] };
    const series = [{ label: "nothing", values: [null, null], color: "optimizer-0" as const }];
    const section = { id: "none", heading: "none", note: "", charts: [{ ...chart, series }] };
    const texts = { subject: "empty", heading: "empty", facts: "", summary: "", footer: "" };
    const page = htmlPage({ ...texts, failures: [], notes: [], sections: [section] });
    writeFiles(temporary.path, { "empty.html": page });
    const opened = await open(browser, join(temporary.path, "empty.html"));
    const charts = await drawnCharts(opened.page);
    expect(charts).toMatchObject([{ title: "none", pixels: [0] }]);
    await opened.page.close();
  });

  test.each(VIEWS)("nothing is cut and axe-core finds nothing serious: %o", async (view) => {
    for (const file of [full, join(sweep, "summary.html")]) {
      const { page, errors } = await open(browser, file, view);
      await unfold(page);
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      expect(width).toBeLessThanOrEqual(view.width);
      expect(await cutElements(page)).toEqual([]);
      expect(await seriousFindings(page)).toEqual([]);
      expect(errors).toEqual([]);
      await page.close();
    }
  });

  test("charts follow the width of the page and the colour scheme", async () => {
    const { page, errors } = await open(browser, full, { width: 1440, scheme: "light" });
    const light = await drawnCharts(page);
    await page.setViewportSize({ width: 390, height: 844 });
    await page.waitForFunction(() =>
      [...document.querySelectorAll("canvas")].every(({ clientWidth }) => clientWidth < 390),
    );
    expect(await cutElements(page)).toEqual([]);
    await page.emulateMedia({ colorScheme: "dark" });
    // The legend has the new colours at once, the canvases when they are drawn again: pixels of them show that.
    const unchanged = async (): Promise<string[]> =>
      (await drawnCharts(page))
        .filter(({ pixels }) => Math.max(...pixels) <= 20)
        .map(({ title }) => title);
    await expect.poll(unchanged, { timeout: 20_000 }).toEqual([]);
    const dark = await drawnCharts(page);
    expect(dark.map(({ title }) => title)).toEqual(light.map(({ title }) => title));
    expect(errors).toEqual([]);
    await page.close();
  });

  test("every chart is in words and numbers too", async () => {
    const { page } = await open(browser, full);
    const figures = await page.$$("figure");
    expect(figures.length).toBeGreaterThan(10);
    for (const figure of figures) {
      const chart = (await figure.$("[role=img]"))!;
      const text = (await chart.getAttribute("aria-label"))!;
      const labels = await figure.$$eval(".legend button", (buttons) =>
        buttons.map((button) => button.childNodes[1]!.textContent!),
      );
      for (const label of labels) expect(text).toContain(`${label}: `);
      await (await figure.$("summary"))!.click();
      await figure.waitForSelector("details table");
      const size = await figure.$eval("details table", (table) => {
        const { rows } = table as HTMLTableElement;
        return { columns: rows[0]!.cells.length, rows: rows.length };
      });
      expect(size.columns).toBe(labels.length + 1);
      expect(size.rows).toBeGreaterThan(1);
      expect(size.rows).toBeLessThanOrEqual(61);
    }
    await page.close();
  });

  test("the legend shows dashes, and turns series off", async () => {
    const { page } = await open(browser, join(run, "report.html"));
    const figure = (await page.$("figure"))!;
    const dashes = await figure.$$eval(".legend button", (buttons) =>
      buttons.map((button) => [
        button.childNodes[1]!.textContent!.replace(/^.*, /, ""),
        button.querySelector("path")!.hasAttribute("stroke-dasharray"),
      ]),
    );
    expect(dashes).toEqual([
      ["test", false],
      ["training", true],
      ["test", false],
      ["training", true],
    ]);
    const before = (await drawnCharts(page))[0]!.pixels;
    for (const button of (await figure.$$(".legend button")).slice(0, 2)) await button.click();
    await page.waitForTimeout(50);
    const after = (await drawnCharts(page))[0]!.pixels;
    expect(before[0]).toBeGreaterThan(20);
    expect(after[0]).toBe(0);
    expect(after[2]).toBeGreaterThan(20);
    await page.close();
  });

  test("runs that lie on each other are both seen, and are said to be identical", async () => {
    for (const scheme of ["light", "dark"] as const) {
      const { page } = await open(browser, full, { width: 1440, scheme });
      expect(await page.textContent(".note")).toContain("lars and lars32bit took the same steps");
      const charts = await drawnCharts(page);
      const { series, pixels } = charts.find(({ title }) => title.startsWith("Training loss"))!;
      for (const name of ["lars", "lars32bit"]) {
        expect(pixels[series.indexOf(name)], `${scheme}: ${name}`).toBeGreaterThan(100);
      }
      await page.close();
    }
  });

  test("names from outside are text, wherever they stand", async () => {
    // Each on a page of its own: "<!--<script>" takes the effect of what comes after it.
    const evil = Object.entries(EVIL).map(([kind, text]) => {
      const series = [{ label: text, values: [1, 2], color: "optimizer-0" as const }];
      const chart = { title: text, unit: text, xLabel: text, x: [1, 2], cursor: text, series };
      const section = { id: text, heading: text, note: text, charts: [chart] };
      const texts = { subject: text, heading: text, facts: text, failures: [text], notes: [text] };
      const page = htmlPage({ ...texts, summary: "", footer: text, sections: [section] });
      writeFiles(temporary.path, { [`${kind}.html`]: page });
      return { file: join(temporary.path, `${kind}.html`), names: [text] };
    });
    for (const { file, names } of [...evil, { file: full, names: Object.values(EVIL) }]) {
      const { page, requests, errors } = await open(browser, file);
      expect({ requests, errors }).toEqual({ requests: [pathToFileURL(file).href], errors: [] });
      const text = await page.textContent("body");
      for (const name of names) expect(text).toContain(name.slice(0, 20));
      expect(await page.$$("img, iframe, object")).toEqual([]);
      await page.close();
    }
  });

  test("options, versions, machine, classes, noise scale and search are there", async () => {
    const { page } = await open(browser, full);
    const sections = await page.$$eval("section", (all) =>
      Object.fromEntries(all.map((section) => [section.id, section.innerText])),
    );
    expect(sections.setup).toMatch(/--batch-size\s+120\n/);
    expect(sections.setup).toMatch(/--momentum\s+0\.9\s*default/);
    expect(sections.setup).toMatch(/jax-js\s+\d+\.\d+\.\d+/);
    expect(sections.setup).toMatch(/cores\s+\d+/);
    expect(sections.setup).toMatch(/report written\s+\d{4}-\d\d-\d\d/);
    expect(sections.noise).toContain(
      "sgd: beyond about 46 samples a larger batch saves few steps (gradient noise scale, median of the run; 1 at first, 90 at last); the batch of 120 is above it.",
    );
    expect(sections.search).toContain("Rate 1, clipped to norm 0.3, was chosen with 91.00 %");
    expect(sections.search).toContain("0.5 had 88.00 %, and 2 had diverged");
    expect(sections.search).toContain("end of the ladder");
    expect(sections.classes).toMatch(/the hardest class is/);
    await page.close();
  });

  test("the confusion matrix of a run has every test sample", async () => {
    const { page } = await open(browser, join(run, "report.html"));
    const matrices = await page.$$eval(".matrix", (tables) =>
      tables.map((table) =>
        [...table.querySelectorAll("td")].map((cell) => Number(cell.textContent)),
      ),
    );
    expect(matrices).toHaveLength(2);
    for (const counts of matrices) {
      expect(counts).toHaveLength(16);
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(80);
    }
    await page.close();
  });

  test("the summary of a sweep draws its charts", async () => {
    const { page, errors } = await open(browser, join(sweep, "summary.html"));
    expect(errors).toEqual([]);
    const charts = await drawnCharts(page);
    expect(charts.map(({ title }) => title)).toEqual([
      "Test accuracy %",
      "Best rate",
      "Batch 64 held-out accuracy, %",
      "Batch 120 held-out accuracy, %",
    ]);
    for (const { series, pixels } of charts) {
      expect(series).toEqual(["sgd", "lars8bit"]);
      for (const count of pixels) expect(count).toBeGreaterThan(20);
    }
    expect(charts[0]!.xTexts).toEqual(expect.arrayContaining(["64", "120"]));
    await page.close();
  });

  test("the report stays small: less than 300 KB, the charting library inside", () => {
    expect(statSync(join(run, "report.html")).size).toBeLessThan(300_000);
    expect(readFileSync(join(run, "report.html"), "utf8")).toContain("uPlot");
  });
});

test("a report of 40,000 steps is as large as one of 4,000", () => {
  const [short, long] = [4000, 40_000].map((steps) => longReport(steps).length);
  // Between 500 and 1,000 steps are shown, whatever their number.
  expect(long! / short!).toBeLessThan(2);
});

test("texts from outside can't become markup", () => {
  for (const text of Object.values(EVIL)) expect(escapeHtml(text)).not.toMatch(/[<>"']/);
});

test("a logarithmic axis has at least two labels and at most a dozen, in order, inside its range", () => {
  const exponent = fc.double({ min: -12, max: 12, noNaN: true });
  const width = fc.double({ min: 1e-4, max: 24, noNaN: true });
  fc.assert(
    fc.property(exponent, width, (from, decades) => {
      const [min, max] = [10 ** from, 10 ** (from + decades)];
      const ticks = logTicks(min, max);
      expect(ticks.length).toBeGreaterThanOrEqual(2);
      expect(ticks.length).toBeLessThanOrEqual(12);
      expect(ticks).toEqual(ticks.toSorted((a, b) => a - b));
      for (const tick of ticks) expect(tick >= min && tick <= max).toBe(true);
    }),
  );
});

test("numbers are short", () => {
  const texts = [0, 1, 0.1, 0.0123456, 1234.5, 12_345_678, 1.234e-5, 3e-10, 99.999, 2e-4, -5.5];
  expect(texts.map(shortNumber)).toEqual([
    "0",
    "1",
    "0.1",
    "0.01235",
    "1,235",
    "1.23e7",
    "1.23e-5",
    "3e-10",
    "100",
    "2e-4",
    "-5.5",
  ]);
});
