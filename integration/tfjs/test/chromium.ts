/** Headless Chromium with the scenarios in a page, for tests of backends that need a browser. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import type { Page } from "playwright-core";
import { digits } from "./digits.js";
import type { ClassName, Training } from "./scenarios.js";

const executablePath = process.env.CHROMIUM_PATH ?? "/usr/bin/chromium";

/** Whether there is a browser. Says so when there is none. */
export function hasBrowser(suite: string): boolean {
  if (existsSync(executablePath)) return true;
  console.warn(
    `${suite}: no browser at ${executablePath} (set CHROMIUM_PATH): all of it is SKIPPED`,
  );
  return false;
}

const ARGUMENTS = [
  "--no-sandbox",
  "--use-gl=angle",
  "--use-angle=swiftshader",
  "--enable-unsafe-swiftshader",
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
];

/** Pages, by path, and their headers. In an isolated page, WebAssembly has threads. */
const PAGES: Readonly<Record<string, Record<string, string>>> = {
  "/plain": {},
  "/isolated": {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
  },
};

export type PageKind = "plain" | "isolated";

export interface Chromium {
  /** A page on whose engine a backend is set. */
  open(backend: string, kind?: PageKind): Promise<ScenarioPage>;
  /** A page without anything on it. */
  blank(): Promise<Page>;
  close(): Promise<void>;
}

export async function startChromium(): Promise<Chromium> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("page.ts", import.meta.url))],
    ...{ bundle: true, format: "iife", write: false, logLevel: "silent" },
  });
  const server = await serve(outputFiles[0]!.text);
  const { port } = server.address() as AddressInfo;
  const browser = await chromium.launch({ executablePath, args: ARGUMENTS });
  return {
    open: async (backend, kind = "plain") => {
      const page = await browser.newPage();
      await page.goto(`http://127.0.0.1:${port}/${kind}`);
      const isSet = await page.evaluate(`use(${JSON.stringify(backend)})`);
      if (isSet !== true) throw new Error(`the page has no backend ${backend}`);
      return new ScenarioPage(page, backend);
    },
    blank: () => browser.newPage(),
    close: async () => {
      await browser.close();
      server.close();
    },
  };
}

async function serve(script: string): Promise<ReturnType<typeof createServer>> {
  const wasm = createRequire(import.meta.url).resolve("@tensorflow/tfjs-backend-wasm/package.json");
  const binaries = join(dirname(wasm), "dist");
  const server = createServer((request, response) => {
    const path = request.url ?? "/";
    const headers = PAGES[path];
    if (headers !== undefined) {
      response.writeHead(200, { ...headers, "content-type": "text/html" });
      response.end("<!doctype html><script src=/page.js></script>");
    } else if (path === "/page.js") {
      response.writeHead(200, { "content-type": "text/javascript" }).end(script);
    } else if (path.endsWith(".wasm")) {
      readFile(join(binaries, basename(path))).then(
        (bytes) => response.writeHead(200, { "content-type": "application/wasm" }).end(bytes),
        () => response.writeHead(404).end(),
      );
    } else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

/** A page with the scenarios, on one backend. */
export class ScenarioPage {
  readonly page: Page;
  readonly #backend: string;

  constructor(page: Page, backend: string) {
    this.page = page;
    this.#backend = backend;
  }

  get caseNames(): Promise<string[]> {
    return this.page.evaluate<string[]>("scenarios.caseNames");
  }

  /** Calls a scenario by name. */
  run(scenario: string, ...args: unknown[]): Promise<unknown> {
    return this.page.evaluate(`scenarios.${scenario}(...${JSON.stringify(args)})`);
  }

  /** The accuracy that a class reaches with so many digits. */
  async accuracy(name: string, training: Training, count: number): Promise<number> {
    const [train, test] = [digits("train", count), digits("t10k", 200)].map(
      ({ images, labels }) => ({ images: [...images], labels: [...labels] }),
    );
    const reached = (await this.run("accuracyOf", name, training, { train, test })) as number;
    const percent = (100 * reached).toFixed(1);
    console.log(`${this.#backend} ${name}, ${training.model}: ${percent} %`);
    return reached;
  }
}

export const classNames: readonly ClassName[] = ["LARS", "LARS8bit", "LARS32bit"];

/** 80 steps. */
export const DENSE: Training = { model: "dense", lr: 1, batchSize: 100, epochs: 4 };
