/** The pages that a run and a sweep write, opened in a browser without a network. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
// What was built: a page has the compiled script inside.
import { escapeHtml, htmlPage } from "../dist/report/html.js";
import { findChromium } from "./helpers/chromium.js";
import { runCli } from "./helpers/cli.js";
import { idxFiles, temporaryFolder, writeFiles } from "./helpers/data.js";

const executablePath = findChromium();
const temporary = temporaryFolder();
afterAll(temporary.remove);

/** What a page shows of one chart. */
interface DrawnChart {
  title: string;
  series: string[];
  /** Distinct colours with some red, green or blue in them: text and grid are grey. */
  colors: number;
}

/** A page that was opened, with everything that it asked for or complained about. */
interface Opened {
  page: Page;
  requests: string[];
  errors: string[];
}

async function open(browser: Browser, file: string): Promise<Opened> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  const requests: string[] = [];
  const errors: string[] = [];
  page.on("request", (request) => requests.push(request.url()));
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  await page.goto(pathToFileURL(file).href);
  await page.waitForSelector("html[data-drawn]");
  return { page, requests, errors };
}

function drawnCharts(page: Page): Promise<DrawnChart[]> {
  return page.$$eval("figure", (figures) =>
    figures.map((figure) => {
      const canvas = figure.querySelector("canvas")!;
      const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
      const colors = new Set<string>();
      for (let pixel = 0; pixel < data.length; pixel += 4) {
        const [red, green, blue, alpha] = data.slice(pixel, pixel + 4);
        const spread = Math.max(red!, green!, blue!) - Math.min(red!, green!, blue!);
        if (alpha === 255 && spread > 60) colors.add(`${red!},${green!},${blue!}`);
      }
      return {
        title: figure.querySelector("figcaption")!.textContent,
        series: [...figure.querySelectorAll(".u-legend .u-label")].map(
          (label) => label.textContent,
        ),
        colors: colors.size,
      };
    }),
  );
}

describe.skipIf(executablePath === null)("in Chromium", () => {
  let browser: Browser;
  const run = join(temporary.path, "run");
  const sweep = join(temporary.path, "sweep");

  beforeAll(async () => {
    const data = writeFiles(join(temporary.path, "data"), idxFiles());
    const options = ["--data", data, "--hidden", "32", "--micro-batch", "32", "--epochs", "3"];
    const trained = await runCli([...options, "--batch-size", "64", "--out", run]);
    expect(trained).toMatchObject({ code: 0, stderr: "" });
    const grid = ["--optimizer", "sgd,lars8bit", "--batch-size", "64,120", "--lr", "1"];
    const swept = await runCli(["sweep", ...options, ...grid, "--out", sweep]);
    expect(swept).toMatchObject({ code: 0, stderr: "" });
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
      "Loss",
      "Accuracy",
      "Optimizer state",
      "Time of a step",
      // lars8bit
      "Trust ratio",
      "Norm of the weights",
      "Norm of the gradient",
      "Norm of the update",
      "Learning rate",
      "Learning rate · trust ratio",
      // sgd
      "Learning rate",
      "Norm of the weights",
      "Norm of the gradient",
      "Norm of the update",
    ]);
    for (const chart of charts) expect(chart.colors, chart.title).toBeGreaterThan(0);
    expect(charts[0]!.series.join()).toContain("lars8bit, test");
    expect(charts[4]!.series.join()).toContain("dense2/kernel");
    const table = await page.textContent("table");
    expect(table).toMatch(/lars8bit.*KB.*sgd/s);
    await page.close();
  });

  test("a chart without values stays empty: the check of the colours can fail", async () => {
    const file = join(temporary.path, "empty.html");
    const chart = { title: "none", xLabel: "step", yLabel: "", x: [1, 2] };
    const series = [{ label: "nothing", values: [null, null], color: 0 }];
    const section = { heading: "", note: "", charts: [{ ...chart, series }] };
    const texts = { title: "empty", subtitle: "", table: "", notes: [], sections: [section] };
    writeFiles(temporary.path, { "empty.html": htmlPage(texts) });
    const opened = await open(browser, file);
    const charts = await drawnCharts(opened.page);
    expect(charts).toMatchObject([{ title: "none", colors: 0 }]);
    await opened.page.close();
  });

  test("the summary of a sweep draws its chart", async () => {
    const { page, errors } = await open(browser, join(sweep, "summary.html"));
    expect(errors).toEqual([]);
    const charts = await drawnCharts(page);
    expect(charts).toHaveLength(1);
    expect(charts[0]!.colors).toBeGreaterThan(0);
    expect(charts[0]!.series).toEqual(expect.arrayContaining(["sgd", "lars8bit"]));
    await page.close();
  });

  test("the report stays small: less than 300 KB, the charting library inside", () => {
    expect(statSync(join(run, "report.html")).size).toBeLessThan(300_000);
    expect(readFileSync(join(run, "report.html"), "utf8")).toContain("uPlot");
  });
});

test("texts from outside can't become markup", () => {
  const evil = '</script><script>alert("1")</script>';
  expect(escapeHtml(evil)).not.toMatch(/[<>"]/);
});
