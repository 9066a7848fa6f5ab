/** The rivals of TensorFlow.js on WebGL and WebGPU: the script of a page, see page.ts. */
import "@tensorflow/tfjs-backend-webgl";
import "@tensorflow/tfjs-backend-webgpu";
import type { PageCommands } from "./page.js";
import { problemFor } from "./tfjs-problem.js";
import type { TfjsBackend } from "./tfjs-problem.js";
import { TfjsRivals, useBackend } from "./tfjs.js";
import type { TfjsRival } from "./tfjs.js";

let rivals: readonly TfjsRival[] = [];

const commands: PageCommands = {
  start: async (backend) => {
    await useBackend(backend);
    const field = new TfjsRivals(problemFor(backend as TfjsBackend));
    rivals = [field.momentum(), field.lars(32, 1), field.lars(8, 1)];
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
