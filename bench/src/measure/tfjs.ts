/** A step of the library's optimizers for TensorFlow.js against TensorFlow.js' own momentum, on one backend. */
import os from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { Problem } from "../problem.js";
import { Judge } from "../rival.js";
import type { Check, Rival } from "../rival.js";
import { openPage } from "../rivals/page.js";
import { tfjsProblem } from "../rivals/tfjs-problem.js";
import type { TfjsBackend } from "../rivals/tfjs-problem.js";
import { ratioOf, spreadOf, timeInTurn, WORKERS_START_MS } from "../timing.js";
import type { Contender, Samples, Spread } from "../timing.js";
import type { Effort } from "./in-new-process.js";

export interface TfjsTask extends Effort {
  readonly backend: TfjsBackend;
  /** Threads of the library's kernels. */
  readonly threads: 1 | 2;
  readonly place: "Node" | "Chromium";
}

export interface TfjsRow extends Pick<Rival, "name" | "rule" | "bits" | "threads"> {
  /** Milliseconds a step. */
  readonly time: Spread;
  /** How many times faster than TensorFlow.js' momentum, within each round. */
  readonly faster: Spread;
  readonly samples: Samples;
}

export interface TfjsTimes {
  readonly backend: TfjsBackend;
  readonly size: number;
  readonly layers: number;
  readonly checks: readonly Check[];
  readonly rows: readonly TfjsRow[];
}

export async function measure({ backend, threads, place, rounds }: TfjsTask): Promise<TfjsTimes> {
  const problem = tfjsProblem();
  const field = place === "Chromium" ? inPage : inNode;
  const { rivals, close } = await field(problem, backend, threads);
  const judge = new Judge(problem);
  const checks: Check[] = [];
  for (const rival of rivals) checks.push(await judge.check(rival));
  const [momentum = [], ...ours] = await timeInTurn(rivals, rounds);
  await close();
  return {
    ...{ backend, size: problem.size, layers: problem.layers.length, checks },
    rows: rivals.map(({ name, rule, bits, threads }, index): TfjsRow => {
      const samples = index === 0 ? momentum : ours[index - 1]!;
      const faster = ratioOf(momentum, samples);
      return { ...{ name, rule, bits, threads, samples }, time: spreadOf(samples), faster };
    }),
  };
}

/** TensorFlow.js' momentum first. */
interface Field {
  readonly rivals: readonly (Rival & Contender)[];
  readonly close: () => Promise<void>;
}

async function inNode(problem: Problem, backend: string, threads: number): Promise<Field> {
  // The adapter takes all cores. With one, steps run as on a page that is not cross-origin isolated.
  os.availableParallelism = () => threads;
  await import("../rivals/tfjs-node.js");
  const { TfjsRivals, useBackend } = await import("../rivals/tfjs.js");
  await useBackend(backend);
  const field = new TfjsRivals(problem);
  const rivals = [field.momentum(), field.lars(32, threads), field.lars(8, threads)];
  await rivals[1]!.step();
  await sleep(WORKERS_START_MS);
  return { rivals, close: () => Promise.resolve() };
}

function inPage(problem: Problem, backend: string): Promise<Field> {
  return openPage(problem, "tfjs-in-page.js", backend);
}
