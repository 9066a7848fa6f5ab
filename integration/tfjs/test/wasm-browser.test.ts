/**
 * wasm in headless Chromium: in an ordinary page, and in one that is cross-origin isolated, where TensorFlow.js' heap
 * is shared memory and the core's threads work in it.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { classNames, DENSE, hasBrowser, startChromium } from "./chromium.js";
import type { Chromium, PageKind, ScenarioPage } from "./chromium.js";
import { largeShapes } from "./scenarios.js";

describe.skipIf(!hasBrowser("wasm-browser.test.ts"))("in Chromium", () => {
  let chromium: Chromium;

  beforeAll(async () => {
    chromium = await startChromium();
  });

  afterAll(() => chromium.close());

  describe.each<PageKind>(["plain", "isolated"])("backend wasm in a page that is %s", (kind) => {
    let page: ScenarioPage;

    beforeAll(async () => {
      page = await chromium.open("wasm", kind);
    });
    afterAll(() => page.page.close());

    it("has threads in the backend's heap where the page is isolated", async () => {
      const cores = await page.page.evaluate(() => navigator.hardwareConcurrency);
      const workers = kind === "isolated" ? cores - 1 : 0;
      expect(await page.run("workersInHeap")).toBe(workers);
    });

    it("follows the core within 1e-5 of a layer's largest weight over 50 steps, in all cases", async () => {
      for (const name of await page.caseNames) {
        expect(await page.run("trajectory", name, 50), name).toBeLessThan(1e-5);
      }
    });

    it("follows the core to the bit in large layers", async () => {
      for (const name of ["the default rule, momentum, decay", "8 bits, Nesterov, clipping"]) {
        expect(await page.run("trajectory", name, 3, largeShapes), name).toBe(0);
      }
    });

    it("holds no more tensors after 1,000 steps, and leaves clones as they were", async () => {
      expect(await page.run("leakedTensors", "LARS8bit", 1000, false)).toBe(0);
      expect(await page.run("clonesKeepValues")).toBe(true);
    });

    it("a saved and loaded model makes the same next step to the bit", async () => {
      for (const name of classNames) expect(await page.run("differenceAfterReload", name)).toBe(0);
    });

    it.each(classNames)(
      "%s trains the dense model of tfjs-examples/mnist to 85 % in 80 steps",
      async (name) => {
        expect(await page.accuracy(name, DENSE, 2000)).toBeGreaterThan(0.85);
      },
    );
  });
});
