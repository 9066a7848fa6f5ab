/** webgl and webgpu, in headless Chromium on SwiftShader: the same scenarios as in Node. */
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { digits } from "./digits.js";
import { largeShapes } from "./scenarios.js";
import type { Training } from "./scenarios.js";

const executablePath = process.env.CHROMIUM_PATH ?? "/usr/bin/chromium";
const hasBrowser = existsSync(executablePath);
if (!hasBrowser) {
  console.warn(
    `browser.test.ts: no browser at ${executablePath} (set CHROMIUM_PATH): all of it is SKIPPED`,
  );
}
const classNames = ["LARS", "LARS8bit", "LARS32bit"];
const DENSE: Training = { model: "dense", lr: 1, batchSize: 100, epochs: 4 };
const CONVOLUTIONAL: Training = { model: "convolutional", lr: 3, batchSize: 8, epochs: 1 };

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

    it("follows the core within 1e-5 over 3 steps of large layers", async () => {
      const names = ["the default rule, momentum, decay", "8 bits, Nesterov, clipping"];
      for (const name of backend === "webgpu" ? names : names.slice(0, 1)) {
        expect(await run("trajectory", name, 3, largeShapes), name).toBeLessThan(1e-5);
      }
    });

    // Not away from webgpu: TensorFlow.js' dataSync gives zeros there, in this browser.
    it.each(
      backend === "webgpu"
        ? [
            ["cpu", "webgpu"],
            ["webgl", "webgpu"],
          ]
        : [["webgl", "cpu", "webgl"]],
    )("takes weights and state along from %s to %s", async (...path) => {
      for (const name of ["8 bits, Nesterov, clipping", "scale-update, dampening"]) {
        expect(await run("trajectoryAcross", name, path), name).toBeLessThan(1e-5);
      }
    });

    it("stores the core's codes, on midpoints and beside them", async () => {
      expect(await run("differentCodes")).toBe(0);
    });

    it("holds no more tensors after 1,000 steps, and after 50 inside tidy", async () => {
      expect(await run("leakedTensors", "LARS", 1000, false)).toBe(0);
      expect(await run("leakedTensors", "LARS8bit", 50, true)).toBe(0);
    });

    it("reads nothing back within a step", async () => {
      expect(await run("readsWithinSteps", 5)).toBe(0);
    });

    it("leaves clones as they were, and is not misled by a reading under way", async () => {
      expect(await run("clonesKeepValues")).toBe(true);
      expect(await run("isCurrentAfterReading")).toBe(true);
    });

    it.each([
      ["LARS", "NaN"],
      ["LARS8bit", "Infinity"],
      ["LARS32bit", "-Infinity"],
    ])("%s writes nothing in a step with %s in a gradient", async (name, bad) => {
      expect(await run("changedBySkippedStep", name, bad)).toBe(0);
    });

    if (backend === "webgpu") {
      it("writes in place, and allocates less than a byte a step", async () => {
        expect(await run("sameBuffers", 3)).toBe(3);
        // Which of the smallest buffers are free to be used again depends on when readings end.
        expect(await run("allocatedBytes", "LARS", 1000)).toBeLessThan(500);
        expect(await run("allocatedBytes", "LARS8bit", 1000)).toBeLessThan(500);
      });
    }

    it("a saved and loaded model makes the same next step to the bit", async () => {
      for (const name of classNames) expect(await run("differenceAfterReload", name)).toBe(0);
    });

    const accuracy = async (name: string, training: Training, count: number): Promise<number> => {
      const [train, test] = [digits("train", count), digits("t10k", 200)].map(
        ({ images, labels }) => ({ images: [...images], labels: [...labels] }),
      );
      const reached = (await run("accuracyOf", name, training, { train, test })) as number;
      console.log(`${backend} ${name}, ${training.model}: ${(100 * reached).toFixed(1)} %`);
      return reached;
    };

    it.each(classNames)(
      "%s trains the dense model of tfjs-examples/mnist to 85 % in 80 steps",
      async (name) => {
        expect(await accuracy(name, DENSE, 2000)).toBeGreaterThan(0.85);
      },
    );

    // TensorFlow.js' own gradient of a convolution takes most of a second a step on webgpu here.
    it.each(backend === "webgpu" ? ["LARS8bit"] : classNames)(
      "%s trains the convolutional model of TensorFlow.js' tutorial to 65 % in 40 steps",
      async (name) => {
        expect(await accuracy(name, CONVOLUTIONAL, 320)).toBeGreaterThan(0.65);
      },
    );
  });
});
