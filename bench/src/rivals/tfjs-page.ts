/** Rivals in headless Chromium, on SwiftShader: WebGL and WebGPU on the processor. Needs Debian's `chromium`. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import type { Page } from "playwright-core";
import type { Problem } from "../problem.js";
import type { Rival } from "../rival.js";
import type { Contender } from "../timing.js";

const CHROMIUM = "/usr/bin/chromium";
const SWIFTSHADER = [
  ...["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
  ...["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
];

export type Described = Pick<Rival, "name" | "rule" | "bits" | "threads">;

export interface RivalsPage {
  /** TensorFlow.js' momentum first. */
  rivals(): Promise<(Rival & Contender)[]>;
  close(): Promise<void>;
}

/** Opens a page that makes the same problem, and steps on command. */
export async function openPage(problem: Problem, backend: string): Promise<RivalsPage> {
  const server = await serve(await bundle());
  const { port } = server.http.address() as AddressInfo;
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: SWIFTSHADER });
  const page = await browser.newPage();
  page.on("pageerror", (error) => {
    console.error(error);
  });
  await page.goto(`http://127.0.0.1:${port}/`);
  return {
    rivals: async () => {
      const described = await page.evaluate<Described[]>(`start(${JSON.stringify(backend)})`);
      return described.map((who, index) => rivalIn(page, problem, { ...who, index }, server));
    },
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
  const call = <T>(name: string, ...args: unknown[]): Promise<T> =>
    page.evaluate<T>(`${name}(${[index, ...args].map((arg) => JSON.stringify(arg)).join()})`);
  return {
    ...who,
    reset: (fresh) => call("reset", fresh),
    step: () => call("step"),
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
    const isScript = request.url === "/page.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? script : "<!doctype html><script src=page.js></script>");
  });
  const server: Server = { http, posted: new Float32Array(0) };
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  return server;
}

async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("tfjs-in-page.js", import.meta.url))],
    ...{ bundle: true, format: "iife", write: false, logLevel: "silent" },
  });
  return outputFiles[0]!.text;
}
