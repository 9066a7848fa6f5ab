/**
 * Threads that are descheduled between reading a job's counter and taking a chunk. The kernels are compiled with a
 * delay there, so that it happens all the time, and run jobs of changing lengths: every chunk must be applied once.
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it, vi } from "vitest";
import { CHUNK_SIZE } from "../src/kernels/kernel.js";
import type { KernelTask } from "../src/kernels/kernel.js";

const folder = mkdtempSync(join(tmpdir(), "layerwise-race-"));

afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** The kernels with a delay of so many turns, longer than it takes to open the next job, before a thread takes a chunk. */
function delayedKernels(turns: number): string {
  const fromHere = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
  const sources = join(folder, "assembly");
  cpSync(fromHere("../src/kernels/wasm/assembly"), sources, { recursive: true });
  const pause = join(sources, "pause.ts");
  const text = readFileSync(pause, "utf8");
  expect(text).toContain("const TURNS: i32 = 0;");
  writeFileSync(
    pause,
    text.replace("const TURNS: i32 = 0;", `const TURNS: i32 = ${String(turns)};`),
  );
  execFileSync(process.execPath, [fromHere("../scripts/build-wasm.mjs"), sources, folder]);
  const built = readFileSync(join(folder, "binary.generated.ts"), "utf8");
  return /"([0-9a-f]+)"/.exec(built)![1]!;
}

/** w ← w − g. */
function subtraction(weights: Float32Array, gradient: Float32Array): KernelTask {
  return {
    arrays: { weights, gradient, momentum: null },
    equation: {
      ...{ gradientFactor: 1, weightFactor: 0, decay: 0, accumulation: 1 },
      ...{ lookahead: 0, stepSize: 1, skipZeros: false },
    },
    sums: { weights: false, update: false },
  };
}

it(
  "apply each chunk once, in 3,000 jobs of changing lengths on 4 threads",
  { timeout: 120_000 },
  async () => {
    vi.doMock("../src/kernels/wasm/binary.generated.js", () => ({
      wasmHex: delayedKernels(50_000),
    }));
    const { WasmRuntime } = await import("../src/kernels/wasm/runtime.js");
    const { WasmKernel } = await import("../src/kernels/wasm/wasm-kernel.js");
    const runtime = new WasmRuntime();
    const kernel = new WasmKernel(runtime, 4);
    const layers = [4, 9, 5, 12].map((chunks) => {
      const arrays = [0, 1].map(() =>
        runtime.allocateFloat32(chunks * CHUNK_SIZE)!.view(Float32Array, chunks * CHUNK_SIZE),
      ) as [Float32Array, Float32Array];
      arrays[1].fill(1);
      return subtraction(...arrays);
    });
    for (let round = 1; round <= 750; round++) {
      for (const layer of layers) kernel.apply([layer]);
      // One number for each chunk: a chunk is applied as a whole.
      for (const { arrays } of layers) {
        for (let at = 0; at < arrays.weights.length; at += CHUNK_SIZE) {
          if (arrays.weights[at] !== -round) {
            expect.fail(
              `round ${String(round)}: expected ${String(-round)}, got ${String(arrays.weights[at])}`,
            );
          }
        }
      }
      // Workers report through the event loop.
      if (round === 1) await new Promise((resolve) => setTimeout(resolve, 300));
    }
    expect(kernel.threads).toBe(4);
    kernel.dispose();
  },
);
