/** webgl and webgpu, in headless Chromium on SwiftShader: the same scenarios as in Node. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { classNames, DENSE, hasBrowser, startChromium } from "./chromium.js";
import type { Chromium, ScenarioPage } from "./chromium.js";
import { largeShapes, manyShapes, oddShapes } from "./scenarios.js";
import type { Training } from "./scenarios.js";

const CONVOLUTIONAL: Training = { model: "convolutional", lr: 3, batchSize: 8, epochs: 1 };

describe.skipIf(!hasBrowser("browser.test.ts"))("in Chromium", () => {
  let chromium: Chromium;

  beforeAll(async () => {
    chromium = await startChromium();
  });

  afterAll(() => chromium.close());

  describe.each(["webgl", "webgpu"])("backend %s", (backend) => {
    let page: ScenarioPage;
    const run = (scenario: string, ...args: unknown[]): Promise<unknown> =>
      page.run(scenario, ...args);

    beforeAll(async () => {
      page = await chromium.open(backend);
    });
    afterAll(() => page.page.close());

    it("follows the core within 1e-5 of a layer's largest weight over 50 steps, in all cases", async () => {
      for (const name of await page.caseNames) {
        expect(await run("trajectory", name, 50), name).toBeLessThan(1e-5);
      }
    });

    it("follows the core within 1e-5 over 3 steps of large layers", async () => {
      for (const name of ["the default rule, momentum, decay", "8 bits, Nesterov, clipping"]) {
        expect(await run("trajectory", name, 3, largeShapes), name).toBeLessThan(1e-5);
      }
    });

    it("follows the core within 1e-5 over 5 steps of layers of all shapes, and of 70 layers", async () => {
      for (const name of [
        ...["the default rule, momentum, decay", "LARC, Nesterov", "skipZeros"],
        ...["8 bits, Nesterov, clipping", "8 bits, skipZeros"],
      ]) {
        expect(await run("trajectory", name, 5, oddShapes), name).toBeLessThan(1e-5);
        expect(await run("trajectory", name, 5, manyShapes), name).toBeLessThan(1e-5);
      }
    });

    it("takes norms of gradients whose squares float32 can't hold", async () => {
      for (const factor of [1e25, 1e-25]) {
        expect(await run("differenceAt", factor), String(factor)).toBeLessThan(1e-5);
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

    it("trains on after loading in the same page, with layers frozen and thawed, to the bit", async () => {
      for (const name of ["LARS", "LARS8bit"]) {
        expect(await run("differencesAfterPartialReload", name), name).toBe(0);
      }
    });

    it("a refused minimize leaves no tensors behind, of a first step or a later one", async () => {
      for (const refusal of ["rate", "first options", "last options", "earlier NaN"]) {
        for (const isFirst of [true, false]) {
          const left = await run("leftByRefused", "LARS8bit", refusal, isFirst);
          expect(left, refusal).toBeLessThanOrEqual(0);
        }
      }
    });

    it("settled() tells of a gradient that was not finite, once", async () => {
      expect(await run("settledOnes", "throw")).toEqual([
        ...["finite", "finite", "1", "finite", "finite", "2", "2", "0", "finite"],
      ]);
      expect(new Set((await run("settledOnes", "skip")) as string[])).toEqual(new Set(["finite"]));
    });

    it("holds nothing for variables that were disposed of", async () => {
      expect(await run("heldForDisposed")).toEqual({ bytes: 0, names: 0, tensors: 0 });
    });

    it("decides percentile clipping for all layers at once: by as many dispatches for 60 layers as for 4", async () => {
      const trustRatio = { rule: "scale-gradient" };
      const added: number[] = [];
      for (const layers of [4, 60]) {
        const without = await run("dispatchesOfStep", layers, { trustRatio });
        const options = { trustRatio, percentileClipping: 50 };
        added.push(Number(await run("dispatchesOfStep", layers, options)) - Number(without));
      }
      // One more where flags are put together with those of a step before.
      expect(Math.abs(added[1]! - added[0]!)).toBeLessThanOrEqual(1);
      // A texture is packed and unpacked between shaders of TensorFlow.js.
      expect(added[0]).toBeLessThanOrEqual(backend === "webgl" ? 50 : 20);
    });

    if (backend === "webgl") {
      // Of them, three upload the gradients. Tensor operations take hundreds.
      it("runs at most 20 programs for a step of three layers, 26 with 8 bits", async () => {
        expect(await run("programsOfStep", "LARS")).toBeLessThanOrEqual(20);
        expect(await run("programsOfStep", "LARS8bit")).toBeLessThanOrEqual(26);
      });
    } else {
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

    it.each(classNames)(
      "%s trains the dense model of tfjs-examples/mnist to 85 % in 80 steps",
      async (name) => {
        expect(await page.accuracy(name, DENSE, 2000)).toBeGreaterThan(0.85);
      },
    );

    it.each(classNames)(
      "%s trains the convolutional model of TensorFlow.js' tutorial to 65 % in 40 steps",
      async (name) => {
        expect(await page.accuracy(name, CONVOLUTIONAL, 320)).toBeGreaterThan(0.65);
      },
    );
  });

  it("runs its shaders where TensorFlow.js does not pack textures", async () => {
    const page = await chromium.open("webgl without packing");
    for (const name of [
      ...["the default rule, momentum, decay", "8 bits", "skipZeros"],
      "percentile and global clipping",
    ]) {
      expect(await page.run("trajectory", name, 10, oddShapes), name).toBeLessThan(1e-5);
    }
    await page.page.close();
  });

  describe("webgl where the shaders can't run", () => {
    it("runs by tensor operations as a backend that the adapter does not know", async () => {
      const page = await chromium.open("plain webgl");
      expect(await page.run("programsOfStep", "LARS")).toBeGreaterThan(100);
      for (const name of ["the default rule, momentum, decay", "8 bits, Nesterov, clipping"]) {
        expect(await page.run("trajectory", name, 10), name).toBeLessThan(1e-5);
      }
      const path = ["webgl", "plain webgl", "webgl"];
      expect(await page.run("trajectoryAcross", "8 bits, skipZeros", path)).toBeLessThan(1e-5);
      expect(await page.run("differentCodes")).toBe(0);
      expect(await page.run("changedBySkippedStep", "LARS8bit", "NaN")).toBe(0);
      await page.page.close();
    });

    it.each([
      ["webgl 1", 1e-5],
      // As precise as they are.
      ["webgl of half floats", 1e-2],
    ])("runs by tensor operations on %s, within %f", async (backend, tolerance) => {
      const page = await chromium.open(backend);
      expect(await page.run("programsOfStep", "LARS")).toBeGreaterThan(100);
      const name = "the default rule, momentum, decay";
      expect(await page.run("trajectory", name, 5)).toBeLessThan(tolerance);
      await page.page.close();
    });
  });
});
