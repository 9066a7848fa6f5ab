/**
 * Rivals in headless Chromium, in a page that is cross-origin isolated; WebGL and WebGPU are on SwiftShader, on the
 * processor. Needs Debian's `chromium`.
 */
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import type { Page } from "playwright-core";
import type { Problem } from "../problem.js";
import type { Rival } from "../rival.js";
import type { Contender } from "../timing.js";

const CHROMIUM = process.env.CHROMIUM_PATH ?? "/usr/bin/chromium";
const ARGUMENTS = [
  "--no-sandbox",
  ...["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-features=Vulkan",
];

export const hasBrowser = existsSync(CHROMIUM);

export type Described = Pick<Rival, "name" | "rule" | "bits" | "threads" | "tolerance">;

/** What a page's script offers, on its global object. Rivals are numbered. */
export interface PageCommands {
  /** @param choice which rivals, in the script's own words */
  start(choice: string): Promise<Described[]>;
  reset(index: number, fresh: boolean): Promise<void>;
  /** Milliseconds of so many steps, until the device has made them. */
  burst(index: number, steps: number): Promise<number>;
  /** Sends the weights of all layers, one after another. */
  send(index: number): Promise<void>;
}

export interface RivalsPage {
  readonly rivals: (Rival & Contender)[];
  readonly close: () => Promise<void>;
}

/**
 * Opens a page whose script makes the same problem, and steps on command.
 *
 * @param script a module beside this one that sets {@link PageCommands}
 * @param choice what the script's `start` is given
 */
export async function openPage(
  problem: Problem,
  script: string,
  choice: string,
): Promise<RivalsPage> {
  const server = await serve(await bundle(script));
  const { port } = server.http.address() as AddressInfo;
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  page.on("pageerror", (error) => {
    console.error(error);
  });
  await page.goto(`http://127.0.0.1:${port}/`);
  const described = await page.evaluate<Described[]>(`start(${JSON.stringify(choice)})`);
  return {
    rivals: described.map((who, index) => rivalIn(page, problem, { ...who, index }, server)),
    close: async () => {
      await browser.close();
      server.http.close();
    },
  };
}

function rivalIn(
  page: Page,
  problem: Problem,
  { index, ...who }: Described & { index: number },
  server: Server,
): Rival & Contender {
  const call = <T>(name: keyof PageCommands, ...args: unknown[]): Promise<T> =>
    page.evaluate<T>(`${name}(${[index, ...args].map((arg) => JSON.stringify(arg)).join()})`);
  return {
    ...who,
    reset: (fresh) => call("reset", fresh),
    step: async () => {
      await call("burst", 1);
    },
    burst: (steps) => call<number>("burst", steps),
    weights: async () => {
      await call("send");
      let end = 0;
      return problem.weights.map(({ length }) => server.posted.subarray(end, (end += length)));
    },
  };
}

interface Server {
  readonly http: ReturnType<typeof createServer>;
  /** What the page sent last: the weights of all layers, one after another. */
  posted: Float32Array;
}

/** What gives a page shared memory, and threads in it. */
const ISOLATED = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

/** A file of TensorFlow.js' wasm backend. */
function wasmBinary(path: string): Buffer {
  const { resolve } = createRequire(import.meta.url);
  const folder = dirname(resolve("@tensorflow/tfjs-backend-wasm/package.json"));
  return readFileSync(join(folder, "dist", basename(path)));
}

async function serve(script: string): Promise<Server> {
  const http = createServer((request, response) => {
    if (request.method === "POST") {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => {
        server.posted = new Float32Array(Uint8Array.from(Buffer.concat(parts)).buffer);
        response.end();
      });
      return;
    }
    const path = request.url ?? "/";
    if (path === "/page.js") {
      response.writeHead(200, { "content-type": "text/javascript" }).end(script);
    } else if (path.endsWith(".wasm")) {
      response.writeHead(200, { "content-type": "application/wasm" }).end(wasmBinary(path));
    } else {
      response.writeHead(200, { "content-type": "text/html", ...ISOLATED });
      response.end("<!doctype html><script src=page.js></script>");
    }
  });
  const server: Server = { http, posted: new Float32Array(0) };
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  return server;
}

async function bundle(script: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(script, import.meta.url))],
    ...{ bundle: true, format: "iife", platform: "browser", write: false, logLevel: "silent" },
  });
  return outputFiles[0]!.text;
}
