/** The page's side of tfjs-page.ts. */
import "@tensorflow/tfjs-backend-webgl";
import "@tensorflow/tfjs-backend-webgpu";
import { perceptron } from "../models/perceptron.js";
import type { Described } from "./tfjs-page.js";
import { TfjsRivals, useBackend } from "./tfjs.js";
import type { TfjsRival } from "./tfjs.js";

let rivals: TfjsRival[] = [];

const commands = {
  start: async (backend: string): Promise<Described[]> => {
    await useBackend(backend);
    const field = new TfjsRivals(perceptron());
    rivals = [field.momentum(), field.lars(32, 1), field.lars(8, 1)];
    return rivals.map(({ name, rule, bits, threads }) => ({ name, rule, bits, threads }));
  },
  reset: (index: number, fresh: boolean) => rivals[index]!.reset(fresh),
  step: async (index: number) => {
    await rivals[index]!.step();
    await rivals[index]!.settle();
  },
  /** Milliseconds of so many steps, until the device has made them. */
  burst: async (index: number, steps: number): Promise<number> => {
    const rival = rivals[index]!;
    await rival.settle();
    const start = performance.now();
    for (let step = 0; step < steps; step++) await rival.step();
    await rival.settle();
    return performance.now() - start;
  },
  send: async (index: number) => {
    const weights = (await rivals[index]!.weights()) as Float32Array<ArrayBuffer>[];
    await fetch("/", { method: "POST", body: new Blob(weights) });
  },
};

Object.assign(globalThis, commands);
