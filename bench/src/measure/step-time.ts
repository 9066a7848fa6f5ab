/** How long a step takes: every rival on one list of layers, in turn, beside a copy. */
import { model } from "../models/model.js";
import { oneLayer } from "../problem.js";
import type { Problem } from "../problem.js";
import { byExpectation, Judge } from "../rival.js";
import type { Check, Rival } from "../rival.js";
import { Copy } from "../rivals/copy.js";
import { jaxLars } from "../rivals/jax.js";
import { allocatedParameters, LarsRivals, outsideParameters } from "../rivals/layerwise.js";
import { plainLoop } from "../rivals/plain-loop.js";
import { tfjsMomentum } from "../rivals/tfjs-node.js";
import { bytesPerParameter } from "../rules.js";
import type { Computed } from "../rules.js";
import { ratioOf, spreadOf, timeInTurn } from "../timing.js";
import type { Contender, Samples, Spread } from "../timing.js";
import type { Effort } from "./in-new-process.js";

/** 2^n parameters in one layer, or a model. */
export type ProblemName = number | "resnet50" | "gpt2";

export interface StepTimeTask extends Effort {
  readonly problem: ProblemName;
}

export interface StepTimeRow {
  readonly name: string;
  readonly rule: Computed | "copy";
  readonly bits: 8 | 32;
  readonly threads: number;
  readonly bytesPerParameter: number;
  /** Milliseconds a step. */
  readonly time: Spread;
  /** To the time in which a copy on as many threads moves the same bytes. */
  readonly toCopy: Spread;
  readonly samples: Samples;
}

export interface StepTimes {
  readonly problem: string;
  readonly layers: number;
  readonly size: number;
  readonly checks: readonly Check[];
  readonly rows: readonly StepTimeRow[];
}

/** Above, a rival takes too long or too much memory for a run of a quarter of an hour. */
const MOST = {
  /** 240 ns a parameter. */
  tfjsCpu: 2 ** 20,
  tfjsWasm: 2 ** 25,
  /** It adds up in float32: at 2^25 its norms are off by 1.7e-3, and it would fail the check. */
  jax: 2 ** 22,
  /** 100 to 300 ns a parameter. */
  reference: 2 ** 22,
  plainLoop: 2 ** 27,
  /** Other rules than clip-update: their checks take long. */
  everyRule: 2 ** 25,
  /** 1 thread, where 2 are measured as well: 4 GiB of kernel memory hold no more momentum. */
  everyOutside: 2 ** 26,
};

/** Up to here, going back to the first weights before each burst costs little; beyond, weights can't go far. */
const MOST_RESET = 2 ** 22;

/** The yardstick moves what a 32-bit step under clip-update moves. */
const COPIED = bytesPerParameter("clip-update", 32);

export async function measure({ problem: name, rounds }: StepTimeTask): Promise<StepTimes> {
  const problem = typeof name === "number" ? oneLayer(2 ** name) : model(name);
  const copy = new Copy(problem.size * COPIED);
  copy.check();
  const rivals = await assemble(problem);
  const judge = new Judge(problem);
  const checks: Check[] = [];
  for (const rival of byExpectation(rivals)) checks.push(await judge.check(rival));

  const copies = ([1, 2] as const).map((threads) => ({
    name: `SIMD copy, ${threads}`,
    step: () => {
      copy.run(problem.size * COPIED, threads);
    },
  }));
  const samples = await timeInTurn([...copies, ...rivals.map(contender(problem))], rounds);
  const copySamples = samples.slice(0, copies.length);
  const rows = rivals.map((rival, index): StepTimeRow => {
    const { rule, bits, threads } = rival;
    const bytes = bytesPerParameter(rule, bits);
    const own = samples[copies.length + index]!;
    const same = copySamples[threads - 1]!.map((ms) => (ms * bytes) / COPIED);
    return {
      ...{ name: rival.name, rule, bits, threads, bytesPerParameter: bytes },
      ...{ time: spreadOf(own), toCopy: ratioOf(own, same), samples: own },
    };
  });
  const copyRows = copySamples.map((own, index): StepTimeRow => ({
    ...{ name: "SIMD copy", rule: "copy", bits: 32, threads: index + 1 },
    ...{ bytesPerParameter: COPIED, time: spreadOf(own), toCopy: ratioOf(own, own), samples: own },
  }));
  return {
    ...{ problem: problem.name, layers: problem.layers.length, size: problem.size, checks },
    rows: [...copyRows, ...rows],
  };
}

/** Everybody who can step on this problem in time. */
async function assemble(problem: Problem): Promise<Rival[]> {
  const allocated = allocatedParameters(problem);
  const outside = outsideParameters(problem);
  const fits = (who: keyof typeof MOST): boolean => problem.size <= MOST[who];
  const rivals: Rival[] = [];
  for (const bits of [32, 8] as const) {
    for (const threads of [1, 2]) {
      const inPlace = new LarsRivals(problem, allocated, { where: "own memory", bits, threads });
      await inPlace.ready();
      if (fits("everyRule")) rivals.push(...inPlace.rivals());
      else rivals.push(inPlace.rival("clip-update"));
      if (threads === 1 && !fits("everyOutside")) continue;
      const passing = new LarsRivals(problem, outside, { where: "outside arrays", bits, threads });
      rivals.push(passing.rival("clip-update"));
    }
    if (!fits("reference")) continue;
    const reference = new LarsRivals(problem, outside, { where: "reference", bits, threads: 1 });
    rivals.push(reference.rival("clip-update"));
  }
  if (fits("plainLoop")) rivals.push(plainLoop(problem));
  if (fits("jax")) rivals.push(await jaxLars(problem));
  if (fits("tfjsWasm")) rivals.push(await tfjsMomentum(problem, "wasm"));
  if (fits("tfjsCpu")) rivals.push(await tfjsMomentum(problem, "cpu"));
  return rivals;
}

function contender({ size }: Problem): (rival: Rival) => Contender {
  return (rival) => ({
    name: rival.name,
    ...(size <= MOST_RESET ? { prepare: () => rival.reset(false) } : {}),
    step: () => rival.step(),
  });
}
