/** A step of the library for jax-js against LARS in jax-js' own operations, on one device and problem. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Problem } from "../problem.js";
import { Judge } from "../rival.js";
import type { Check, Rival } from "../rival.js";
import { FIELDS } from "../rivals/jax-problem.js";
import type { JaxField } from "../rivals/jax-problem.js";
import { jaxLars } from "../rivals/jax.js";
import { hosted, transformation } from "../rivals/layerwise-jax.js";
import { openPage } from "../rivals/page.js";
import { ratioOf, spreadOf, timeInTurn, WORKERS_START_MS } from "../timing.js";
import type { Contender, Samples, Spread } from "../timing.js";
import type { Effort } from "./in-new-process.js";

export interface JaxTask extends Effort {
  readonly field: JaxField;
}

export interface JaxRow extends Pick<Rival, "name" | "bits" | "threads"> {
  /** Milliseconds a step. */
  readonly time: Spread;
  /** How many times faster than LARS in jax-js' own operations, within each round. */
  readonly faster: Spread;
  readonly samples: Samples;
}

export interface JaxTimes {
  readonly field: JaxField;
  readonly size: number;
  readonly layers: number;
  readonly checks: readonly Check[];
  /** LARS in jax-js' own operations first. */
  readonly rows: readonly JaxRow[];
}

export async function measure({ field, rounds }: JaxTask): Promise<JaxTimes> {
  const { device, problem: createProblem } = FIELDS[field];
  const problem = createProblem();
  const { rivals, close } =
    device === "webgpu"
      ? await openPage(problem, "jax-in-page.js", field)
      : { rivals: await inNode(problem, device), close: () => Promise.resolve() };
  const judge = new Judge(problem);
  const checks: Check[] = [];
  for (const rival of rivals) checks.push(await judge.check(rival));
  const samples = await timeInTurn(rivals, rounds);
  await close();
  return {
    ...{ field, size: problem.size, layers: problem.layers.length, checks },
    rows: rivals.map(({ name, bits, threads }, index): JaxRow => {
      const own = samples[index]!;
      return {
        ...{ name, bits, threads, time: spreadOf(own), samples: own },
        faster: ratioOf(samples[0]!, own),
      };
    }),
  };
}

async function inNode(problem: Problem, device: "cpu" | "wasm"): Promise<(Rival & Contender)[]> {
  const inOperations = await jaxLars(problem, device);
  const hosts = ([32, 8] as const).flatMap((bits) =>
    [1, 2].flatMap((threads) =>
      (["jax-js", "Float32Arrays", "own memory"] as const).map((gradients) =>
        hosted(problem, { gradients, bits, threads }),
      ),
    ),
  );
  await sleep(WORKERS_START_MS);
  return [inOperations, transformation(problem, 32), transformation(problem, 8), ...hosts];
}
