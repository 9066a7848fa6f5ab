/** The rivals of jax-js on WebGPU: the script of a page, see page.ts. */
import type { Rival } from "../rival.js";
import { FIELDS } from "./jax-problem.js";
import type { JaxField } from "./jax-problem.js";
import { jaxLars } from "./jax.js";
import { transformation } from "./layerwise-jax.js";
import type { PageCommands } from "./page.js";

let rivals: readonly Rival[] = [];

const commands: PageCommands = {
  start: async (field) => {
    const { device, problem: createProblem } = FIELDS[field as JaxField];
    const problem = createProblem();
    rivals = [
      await jaxLars(problem, device),
      transformation(problem, 32),
      transformation(problem, 8),
    ];
    return rivals.map(({ name, rule, bits, threads, tolerance }) => ({
      ...{ name, rule, bits, threads },
      ...(tolerance === undefined ? {} : { tolerance }),
    }));
  },
  reset: async (index, fresh) => {
    await rivals[index]!.reset(fresh);
  },
  burst: async (index, steps) => {
    const start = performance.now();
    for (let step = 0; step < steps; step++) await rivals[index]!.step();
    return performance.now() - start;
  },
  send: async (index) => {
    const weights = (await rivals[index]!.weights()) as Float32Array<ArrayBuffer>[];
    await fetch("/", { method: "POST", body: new Blob(weights) });
  },
};

Object.assign(globalThis, commands);
