/**
 * layerwise/jax on a WebGPU device: the built library in headless Chromium, whose SwiftShader is a GPU in
 * software, beside the core in Node.
 */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import type * as Jax from "@jax-js/jax";
import { chromium } from "playwright-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LARS, Parameter } from "../../src/index.js";
import type { BlockwiseMomentum, LARSOptions } from "../../src/index.js";
import type * as Library from "../../src/jax.js";
import { bundled, executablePath, hasBrowser, serve } from "../helpers/browser.js";
import { relativeDifference } from "../helpers/numbers.js";

const TIMEOUT_MS = 240_000;
const STEPS = 50;

/** Options that both understand, as they travel to the page. */
type SharedOptions = Omit<LARSOptions, "lr" | "nonFinite"> & { lr: number };

interface Run {
  readonly bits: 8 | 32;
  readonly options: SharedOptions;
  readonly steps: number;
  /** Of the gradients. */
  readonly scale?: number;
  /** A step more, whose gradient has a NaN. */
  readonly endsWithNaN?: boolean;
  /** Operation by operation. */
  readonly withoutJit?: boolean;
}

interface Outcome {
  device: string;
  /** Buffers that there are after each step. */
  buffers: number[];
  weights: number[][];
  /** Words of the first layer's codes, where it has any. */
  codes: number[] | null;
  count: number;
  skipped: number;
}

/**
 * What page and Node start from. It travels as text and uses nothing else from this file. Layers with more than 2^14
 * elements are measured in another way; the one here has no run that divides it. It is left out with 8 bits: among so many
 * elements there would be one near a midpoint whose code is the neighbour.
 */
const problem = {
  sizes: { 8: [5000, 7, 700], 32: [5000, 7, 700, 17_001] },
  values: (size: number, seed: number): Float32Array<ArrayBuffer> => {
    let state = seed;
    return Float32Array.from({ length: size }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 31 - 1;
    });
  },
};

/** Runs in the page. It travels as text as well. */
async function scenario(
  { blockUntilReady, init, defaultDevice, jit, numpy: np, tree }: typeof Jax,
  { applyUpdates, lars, lars8bit }: typeof Library,
  { sizes, values }: typeof problem,
  run: Run,
): Promise<Outcome> {
  await init("webgpu");
  defaultDevice("webgpu");
  const optimizer: Library.GradientTransformation = (run.bits === 8 ? lars8bit : lars)(run.options);
  type Arrays = Jax.JsTree<Jax.numpy.Array>;
  const update = (gradients: Arrays, state: Arrays, params: Arrays): Arrays => {
    const [updates, next] = optimizer.update(gradients, state, tree.ref(params));
    return [applyUpdates(params, updates), next] as Arrays;
  };
  const step = (run.withoutJit === true ? update : jit(update)) as unknown as (
    ...given: Arrays[]
  ) => [Jax.numpy.Array[], Library.LarsState];
  const arrays = (seed: number, scale = 1, broken = false): Jax.numpy.Array[] =>
    sizes[run.bits].map((size, layer) => {
      const array = values(size, seed + layer).map((value) => value * scale);
      if (broken && layer === 0) array[7] = NaN;
      return np.array(array);
    });
  // jax-js does not show its buffers, so the map that holds them is caught.
  const found: Map<unknown, unknown>[] = [];
  const set = Object.getOwnPropertyDescriptor(Map.prototype, "set")!;
  Map.prototype.set = function (this: Map<unknown, unknown>, key: unknown, value: unknown) {
    if (typeof value === "object" && value !== null && "ref" in value) found.push(this);
    return (set.value as typeof Map.prototype.set).call(this, key, value);
  };
  let params = arrays(1);
  Object.defineProperty(Map.prototype, "set", set);
  const held = found[0]!;
  const buffers: number[] = [];
  let state = optimizer.init(tree.ref(params)) as Library.LarsState;
  for (let index = 0; index < run.steps; index++) {
    [params, state] = step(arrays(100 * (index + 1), run.scale), state, params);
    await blockUntilReady([params, state]);
    buffers.push(held.size);
  }
  if (run.endsWithNaN === true) [params, state] = step(arrays(100, run.scale, true), state, params);
  const read = async (array: Jax.numpy.Array): Promise<number[]> =>
    Array.from((await array.ref.data()) as Float32Array);
  const [first] = state.layers as unknown as Library.LarsLayerState[];
  const momentum = first!.momentum as { codes?: Jax.numpy.Array };
  return {
    device: params[0]!.device,
    buffers,
    weights: await Promise.all(params.map(read)),
    codes: momentum.codes === undefined ? null : await read(momentum.codes),
    count: (await read(state.count))[0]!,
    skipped: (await read(state.skipped))[0]!,
  };
}

/** The same steps of the core. */
function coreOutcome({ bits, options, steps, scale = 1 }: Run): {
  params: Parameter[];
  core: LARS;
} {
  const { sizes, values } = problem;
  const params = sizes[bits].map((size, layer) => new Parameter(values(size, 1 + layer)));
  const core = new LARS(params, { ...options, optimBits: bits }, { threads: 1 });
  for (let index = 0; index < steps; index++) {
    params.forEach((parameter, layer) => {
      const gradient = values(parameter.size, 100 * (index + 1) + layer);
      parameter.grad = gradient.map((value) => value * scale);
    });
    core.step();
  }
  return { params, core };
}

const script = `
  import * as jax from "@jax-js/jax";
  import * as library from "layerwise/jax";
  const problem = {
    sizes: ${JSON.stringify(problem.sizes)},
    values: ${problem.values.toString()},
  };
  globalThis.run = (options) => (${scenario.toString()})(jax, library, problem, options);
`;

const base = { lr: 0.05, momentum: 0.9, weightDecay: 0.01 } as const;
type Case = [string, Pick<Run, "bits" | "options" | "scale">];
const cases: Case[] = [
  ["lars", { bits: 32, options: base }],
  [
    "lars, scale-gradient with clip, global clipping",
    {
      bits: 32,
      options: {
        ...base,
        maxGradNorm: 3,
        trustRatio: { rule: "scale-gradient", clip: true, coefficient: 0.02 },
      },
    },
  ],
  [
    "lars, percentile clipping, skipZeros, nesterov",
    { bits: 32, options: { ...base, percentileClipping: 40, skipZeros: true, nesterov: true } },
  ],
  ...[1e25, 1e-25].map((scale): Case => [
    `lars, gradients times ${String(scale)}`,
    { bits: 32, scale, options: { lr: 0.05, momentum: 0.9, trustRatio: "scale-update" } },
  ]),
  [
    // Each layer's sum of squares is a float32, 3.2e38 at the most; all together are not.
    "lars, gradients whose squares overflow only together",
    {
      bits: 32,
      scale: 4.38e17,
      options: { lr: 0.05, momentum: 0.9, trustRatio: { rule: "scale-gradient" } },
    },
  ],
  ["lars8bit", { bits: 8, options: base }],
  [
    "lars8bit, dampening, skipZeros",
    { bits: 8, options: { ...base, dampening: 0.2, skipZeros: true } },
  ],
];

describe.skipIf(!hasBrowser("jax/webgpu.test.ts"))(
  "under jit on WebGPU in Chromium",
  { timeout: TIMEOUT_MS },
  () => {
    let server: Server;
    let browser: Browser;
    let page: Page;

    beforeAll(async () => {
      server = await serve(await bundled(script), { "/": {} });
      browser = await chromium.launch({
        executablePath,
        timeout: TIMEOUT_MS,
        args: [
          "--no-sandbox",
          "--enable-unsafe-webgpu",
          "--use-webgpu-adapter=swiftshader",
          "--enable-features=Vulkan",
        ],
      });
      page = await browser.newPage();
      page.setDefaultTimeout(TIMEOUT_MS);
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
      await page.waitForFunction("globalThis.run !== undefined");
    }, TIMEOUT_MS);

    afterAll(async () => {
      await browser.close();
      await new Promise((resolve) => server.close(resolve));
    });

    function inPage(run: Run): Promise<Outcome> {
      return page.evaluate(
        (options) =>
          (globalThis as unknown as { run: (run: Run) => Promise<Outcome> }).run(options),
        run,
      );
    }

    it.each(cases)(
      "%s: weights within 1e-5 of the core's over 50 steps (float32 norms), codes apart in 1 of 1,000 at most",
      async (_, given) => {
        const run = { ...given, steps: STEPS };
        const { device, buffers, weights, codes, count, skipped } = await inPage(run);
        expect(device).toBe("webgpu");
        expect(buffers.at(-1)).toBe(buffers[9]);
        expect([count, skipped]).toEqual([STEPS, 0]);
        const { params, core } = coreOutcome(run);
        weights.forEach((values, layer) => {
          expect(relativeDifference(values, params[layer]!.data)).toBeLessThanOrEqual(1e-5);
        });
        if (given.bits === 32) {
          expect(codes).toBeNull();
          return;
        }
        const momentum = core.stateDict().layers[0]!.momentum as BlockwiseMomentum;
        const bytes = new Uint8Array(Uint32Array.from(codes!).buffer).subarray(0, 5000);
        const apart = momentum.codes.filter((code, index) => code !== bytes[index]);
        expect(apart.length).toBeLessThanOrEqual(5);
      },
    );

    it.each(cases.filter(([, { scale }]) => scale === undefined))(
      "%s: without jit, owns as much after 6 steps as after 3",
      async (_, given) => {
        const { buffers } = await inPage({ ...given, steps: 6, withoutJit: true });
        expect(buffers[5]).toBe(buffers[2]);
      },
    );

    it.each([32, 8] as const)(
      "a NaN skips the step with %i bits, and changes nothing",
      async (bits) => {
        const run = { bits, options: base, steps: 3 };
        const before = await inPage(run);
        const after = await inPage({ ...run, endsWithNaN: true });
        const { buffers } = after;
        expect(after).toEqual({ ...before, buffers, skipped: 1 });
      },
    );
  },
);
