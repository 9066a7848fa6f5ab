/**
 * The built library in a real browser: constructed and stepped without an await, with and without shared
 * memory, with and without workers, and always the bits that Node computes.
 */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { chromium } from "playwright-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as sources from "../src/index.js";
import type { LARSOptions } from "../src/index.js";
import { bundled, executablePath, hasBrowser, serve } from "./helpers/browser.js";

interface Outcome {
  /** A digest of each parameter's weights, bit by bit. */
  digests: number[];
  threads: number;
  /** Where allocated arrays lie. */
  buffer: string;
}

/**
 * What is run in the page and in Node alike. It gets the library and uses nothing else from this file:
 * it travels as text. There is no await in it.
 */
function scenario(library: typeof sources, kernel?: "reference" | "wasm"): Outcome {
  const digests: number[] = [];
  let threads = 0;
  let buffer = "";
  const values = (length: number, seed: number): Float32Array => {
    let state = seed;
    const array = new Float32Array(length);
    for (let index = 0; index < length; index++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      array[index] = state / 2 ** 31 - 1;
    }
    return array;
  };
  const digest = (array: Float32Array): number =>
    new Uint32Array(array.slice().buffer).reduce(
      (hash, bits) => Math.imul(hash ^ bits, 16777619) >>> 0,
      2166136261,
    );
  const settings: LARSOptions[] = [
    { lr: 0.1, momentum: 0.9, weightDecay: 0.001 },
    { lr: 0.1, momentum: 0.9, nesterov: true, optimBits: 8, min8bitSize: 1 },
    {
      lr: 0.1,
      momentum: 0.9,
      trustRatio: { rule: "scale-gradient", denominator: "joint", coefficient: 0.02 },
      percentileClipping: 50,
      maxGradNorm: 10,
      skipZeros: true,
    },
  ];
  for (const options of settings) {
    const inside = library.Parameter.allocate([70_001], { name: "inside" });
    inside.data.set(values(70_001, 1));
    const large = library.Parameter.allocate([200_000], { name: "large" });
    large.data.set(values(200_000, 2));
    const outside = new library.Parameter(values(40_003, 3), { name: "outside" });
    const params = [inside, large, outside];
    const optimizer = new library.LARS(params, options, kernel === undefined ? {} : { kernel });
    for (let step = 0; step < 3; step++) {
      params.forEach((parameter, layer) => {
        const gradient = values(parameter.size, 10 * step + layer + 7);
        if (layer === 2) parameter.grad = gradient;
        else parameter.grad!.set(gradient);
      });
      optimizer.step();
    }
    digests.push(...params.map(({ data }) => digest(data)));
    threads = optimizer.threads;
    buffer = inside.data.buffer.constructor.name;
    optimizer.dispose();
    for (const parameter of params) parameter.dispose();
  }
  return { digests, threads, buffer };
}

/** A machine that does other things too may take its time with a page. */
const TIMEOUT_MS = 120_000;

/** Headers of pages under test, by path. */
const ISOLATED = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};
const pages: Record<string, Record<string, string>> = {
  "/isolated": ISOLATED,
  "/plain": {},
  "/without-workers": { ...ISOLATED, "Content-Security-Policy": "worker-src 'none'" },
  "/without-wasm": { "Content-Security-Policy": "script-src 'self'" },
};

/** The library, and the scenario after it. */
const script = `
  import * as library from "layerwise";
  globalThis.run = (kernel) => (${scenario.toString()})(library, kernel);
  globalThis.outcome = globalThis.run();
  // As a worker: once more, when workers of its own have come up.
  if (globalThis.document === undefined) setTimeout(() => postMessage(globalThis.run()), 500);
`;

describe.skipIf(!hasBrowser("browser.test.ts"))("in Chromium", { timeout: TIMEOUT_MS }, () => {
  let server: Server;
  let browser: Browser;
  let expected: Outcome;

  beforeAll(async () => {
    server = await serve(await bundled(script), pages);
    browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
    expected = scenario(sources, "wasm");
  }, TIMEOUT_MS);

  afterAll(async () => {
    await browser.close();
    await new Promise((resolve) => server.close(resolve));
  });

  /** Opens a page, which runs the scenario while it loads; nothing may go wrong on it. */
  async function open(path: string, prepare?: (page: Page) => Promise<unknown>): Promise<Page> {
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    await prepare?.(page);
    const { port } = server.address() as AddressInfo;
    await page.goto(`http://127.0.0.1:${port}${path}`, { timeout: TIMEOUT_MS });
    expect(errors).toEqual([]);
    return page;
  }

  function outcomeOf(page: Page): Promise<Outcome> {
    return page.evaluate(() => (globalThis as unknown as { outcome: Outcome }).outcome);
  }

  it("steps at once in a cross-origin isolated page: Node's bits, shared memory, workers", async () => {
    const page = await open("/isolated");
    expect(await page.evaluate(() => globalThis.crossOriginIsolated)).toBe(true);
    const outcome = await outcomeOf(page);
    expect(outcome.digests).toEqual(expected.digests);
    expect(outcome.buffer).toBe("SharedArrayBuffer");
    const cores = await page.evaluate(() => navigator.hardwareConcurrency);
    expect(outcome.threads).toBe(cores);
    await page.close();
  });

  it("gives the same bits when the workers have come up", async () => {
    const page = await open("/isolated");
    const outcome = await page.evaluate(async () => {
      const { run } = globalThis as unknown as { run: () => Outcome };
      run();
      await new Promise((resolve) => setTimeout(resolve, 500));
      return run();
    });
    expect(outcome.digests).toEqual(expected.digests);
    await page.close();
  });

  it("steps in a Web Worker as in the page, with workers of its own", async () => {
    const page = await open("/isolated");
    const outcome = await page.evaluate(async () => {
      const worker = new Worker("/bundle.js", { type: "module" });
      return new Promise<Outcome>((resolve, reject) => {
        worker.onmessage = ({ data }: MessageEvent<Outcome>) => {
          resolve(data);
        };
        worker.onerror = ({ message }) => {
          reject(new Error(message));
        };
      });
    });
    const cores = await page.evaluate(() => navigator.hardwareConcurrency);
    expect(outcome).toMatchObject({ digests: expected.digests, threads: cores });
    await page.close();
  });

  it("steps at once in a page that is not isolated: Node's bits, no workers", async () => {
    const page = await open("/plain");
    expect(await page.evaluate(() => globalThis.crossOriginIsolated)).toBe(false);
    const outcome = await outcomeOf(page);
    expect(outcome).toMatchObject({ digests: expected.digests, threads: 1 });
    // Chromium gives WebAssembly shared memory here too, only no worker can be handed it.
    expect(outcome.buffer).toBe("SharedArrayBuffer");
    await page.close();
  });

  it("steps where there is no shared memory: Node's bits, ordinary arrays", async () => {
    const page = await open("/plain", (opened) =>
      opened.addInitScript(() => {
        const { Memory } = WebAssembly;
        WebAssembly.Memory = class extends Memory {
          constructor(descriptor: WebAssembly.MemoryDescriptor) {
            if (descriptor.shared === true) throw new TypeError("no shared memory here");
            super(descriptor);
          }
        };
      }),
    );
    expect(await outcomeOf(page)).toEqual({
      digests: expected.digests,
      threads: 1,
      buffer: "ArrayBuffer",
    });
    await page.close();
  });

  it("steps on one thread where a content security policy forbids workers", async () => {
    const page = await open("/without-workers");
    const outcome = await outcomeOf(page);
    expect(outcome.digests).toEqual(expected.digests);
    await page.close();
  });

  it("steps with the reference kernel where a content security policy forbids WebAssembly", async () => {
    const page = await open("/without-wasm");
    const outcome = await outcomeOf(page);
    expect(outcome).toEqual({ ...scenario(sources, "reference"), buffer: "ArrayBuffer" });
    await page.close();
  });
});
