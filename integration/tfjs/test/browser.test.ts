/** webgl and webgpu, in headless Chromium on SwiftShader: the same scenarios by tensor operations. */
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { digits } from "./digits.js";

const executablePath = process.env.CHROMIUM_PATH ?? "/usr/bin/chromium";
const hasBrowser = existsSync(executablePath);
if (!hasBrowser) {
  console.warn(
    `browser.test.ts: no browser at ${executablePath} (set CHROMIUM_PATH): all of it is SKIPPED`,
  );
}
const classNames = ["LARS", "LARS8bit", "LARS32bit"];

describe.skipIf(!hasBrowser)("in Chromium", () => {
  let server: Server;
  let browser: Browser;
  let address: string;

  beforeAll(async () => {
    const { outputFiles } = await build({
      entryPoints: [fileURLToPath(new URL("page.ts", import.meta.url))],
      bundle: true,
      format: "iife",
      write: false,
      logLevel: "silent",
    });
    const script = outputFiles[0]!.text;
    server = createServer((request, response) => {
      const isScript = request.url === "/page.js";
      response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
      response.end(isScript ? script : "<!doctype html><script src=page.js></script>");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const bound = server.address();
    if (bound === null || typeof bound === "string") throw new Error("no port");
    address = `http://127.0.0.1:${bound.port}/`;
    browser = await chromium.launch({
      executablePath,
      args: [
        "--no-sandbox",
        "--use-gl=angle",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--enable-unsafe-webgpu",
        "--use-webgpu-adapter=swiftshader",
      ],
    });
  });

  afterAll(async () => {
    await browser.close();
    server.close();
  });

  describe.each(["webgl", "webgpu"])("backend %s", (backend) => {
    let page: Page;
    const run = (scenario: string, ...args: unknown[]): Promise<unknown> =>
      page.evaluate(`scenarios.${scenario}(...${JSON.stringify(args)})`);

    beforeAll(async () => {
      page = await browser.newPage();
      await page.goto(address);
      expect(await page.evaluate(`use("${backend}")`)).toBe(true);
    });
    afterAll(() => page.close());

    it("follows the core within 1e-5 of a layer's largest weight over 50 steps, in all cases", async () => {
      for (const name of await page.evaluate<string[]>("scenarios.caseNames")) {
        expect(await run("trajectory", name, 50), name).toBeLessThan(1e-5);
      }
    });

    it("holds no more tensors after 1,000 steps, and after 50 inside tidy", async () => {
      expect(await run("leakedTensors", "LARS", 1000, false)).toBe(0);
      expect(await run("leakedTensors", "LARS8bit", 50, true)).toBe(0);
    });

    it("reads nothing back within a step", async () => {
      expect(await run("readsWithinSteps", 5)).toBe(0);
    });

    it("leaves clones as they were, and writes nothing in a step that is skipped", async () => {
      expect(await run("clonesKeepValues")).toBe(true);
      expect(await run("changedBySkippedStep")).toBe(0);
    });

    it("a saved and loaded model makes the same next step to the bit", async () => {
      for (const name of classNames) expect(await run("differenceAfterReload", name)).toBe(0);
    });

    it.each(classNames)(
      "%s trains the dense model of tfjs-examples/mnist to 85 % in 80 steps",
      async (name) => {
        const [train, test] = [digits("train", 2000), digits("t10k", 500)].map(
          ({ images, labels }) => ({
            images: [...images],
            labels: [...labels],
          }),
        );
        const accuracy = (await run("accuracyOf", name, train, test)) as number;
        console.log(`${backend} ${name}: ${(100 * accuracy).toFixed(1)} %`);
        expect(accuracy).toBeGreaterThan(0.85);
      },
    );
  });
});
