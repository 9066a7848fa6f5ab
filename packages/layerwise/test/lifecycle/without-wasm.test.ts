/** A page whose content security policy forbids WebAssembly: the reference kernel, one warning, Node's numbers. */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { chromium } from "playwright-core";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as sources from "../../src/index.js";
import { bundled, executablePath, hasBrowser, serve } from "../helpers/browser.js";

const TIMEOUT_MS = 60_000;

interface Outcome {
  weights: number[];
  kernels: (string | undefined)[];
  threads: number[];
}

/** Runs in the page and here; it gets the library, and travels as text. */
function scenario(library: typeof sources, kernel?: "reference"): Outcome {
  const outcome: Outcome = { weights: [], kernels: [], threads: [] };
  for (const optimBits of [8, 32] as const) {
    const inside = library.Parameter.allocate([5000], { name: "inside" });
    const outside = new library.Parameter(new Float32Array(300), { name: "outside" });
    outside.grad = new Float32Array(300);
    const params = [inside, outside];
    for (const { data, grad } of params) {
      data.forEach((_, index) => {
        data[index] = Math.fround(1 + (index % 7) / 8);
        grad![index] = Math.fround(((index % 5) - 2) / 16);
      });
    }
    const optimizer = new library.LARS(
      params,
      { lr: 0.1, momentum: 0.9, optimBits },
      kernel === undefined ? {} : { kernel },
    );
    optimizer.step();
    optimizer.step();
    outcome.kernels.push((optimizer as { kernel?: string }).kernel);
    outcome.threads.push(optimizer.threads);
    for (const { data } of params) outcome.weights.push(...data.slice(0, 100));
    optimizer.dispose();
  }
  return outcome;
}

const script = `
  import * as library from "layerwise";
  globalThis.outcome = (${scenario.toString()})(library);
`;

describe.skipIf(!hasBrowser("without-wasm.test.ts"))("in Chromium", { timeout: TIMEOUT_MS }, () => {
  let server: Server;
  let browser: Browser;

  beforeAll(async () => {
    server = await serve(await bundled(script), {
      "/forbidden": { "Content-Security-Policy": "script-src 'self'" },
      "/allowed": { "Content-Security-Policy": "script-src 'self' 'wasm-unsafe-eval'" },
    });
    browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  }, TIMEOUT_MS);

  afterAll(async () => {
    await browser.close();
    await new Promise((resolve) => server.close(resolve));
  });

  async function outcomeOn(path: string): Promise<{ outcome: Outcome; warnings: string[] }> {
    const page = await browser.newPage();
    const errors: string[] = [];
    const warnings: string[] = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "warning") warnings.push(message.text());
    });
    const { port } = server.address() as AddressInfo;
    await page.goto(`http://127.0.0.1:${port}${path}`, { timeout: TIMEOUT_MS });
    const outcome = await page.evaluate(
      () => (globalThis as unknown as { outcome: Outcome }).outcome,
    );
    await page.close();
    expect(errors).toEqual([]);
    return { outcome, warnings: warnings.filter((text) => text.startsWith("layerwise:")) };
  }

  it("a policy that forbids wasm: two optimizers step with the reference kernel, one warning in all", async () => {
    const { outcome, warnings } = await outcomeOn("/forbidden");
    expect(outcome.weights).toEqual(scenario(sources, "reference").weights);
    expect(outcome.threads).toEqual([1, 1]);
    expect(outcome.kernels).toEqual(["reference", "reference"]);
    expect(warnings).toHaveLength(1);
  });

  it("a policy that allows it: the kernels in WebAssembly, no warning", async () => {
    const { outcome, warnings } = await outcomeOn("/allowed");
    expect(outcome.weights).toEqual(scenario(sources).weights);
    expect(outcome.kernels).toEqual(["wasm", "wasm"]);
    expect(warnings).toEqual([]);
  });
});
