/**
 * The rivals of TensorFlow.js in a page that is cross-origin isolated, see page.ts: on WebGL, on WebGPU, and on wasm
 * with as many threads as there are cores.
 */
import { setThreadsCount, setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import "@tensorflow/tfjs-backend-webgl";
import "@tensorflow/tfjs-backend-webgpu";
import { WORKERS_START_MS } from "../timing.js";
import type { PageCommands } from "./page.js";
import { tfjsProblem } from "./tfjs-problem.js";
import { TfjsRivals, useBackend } from "./tfjs.js";
import type { TfjsRival } from "./tfjs.js";

setWasmPaths("/");
setThreadsCount(navigator.hardwareConcurrency);

let rivals: readonly TfjsRival[] = [];

const commands: PageCommands = {
  start: async (backend) => {
    await useBackend(backend);
    const field = new TfjsRivals(tfjsProblem());
    const threads = backend === "wasm" ? navigator.hardwareConcurrency : 1;
    rivals = [field.momentum(threads), field.lars(32, threads), field.lars(8, threads)];
    if (backend === "wasm") {
      await rivals[1]!.step();
      await new Promise((resolve) => setTimeout(resolve, WORKERS_START_MS));
    }
    return rivals.map(({ name, rule, bits, threads }) => ({ name, rule, bits, threads }));
  },
  reset: async (index, fresh) => {
    await rivals[index]!.reset(fresh);
  },
  burst: async (index, steps) => {
    const rival = rivals[index]!;
    await rival.settle();
    const start = performance.now();
    for (let step = 0; step < steps; step++) await rival.step();
    await rival.settle();
    return performance.now() - start;
  },
  send: async (index) => {
    const weights = (await rivals[index]!.weights()) as Float32Array<ArrayBuffer>[];
    await fetch("/", { method: "POST", body: new Blob(weights) });
  },
};

Object.assign(globalThis, commands);
