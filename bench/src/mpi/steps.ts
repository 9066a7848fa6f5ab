/** Steps over ResNet-50 with all state on every process, and with a share of it; and how much state that is. */
import { LARS } from "layerwise";
import type { Parameter } from "layerwise";
import { DataParallel, ShardedLARS } from "layerwise/mpi";
import { model } from "../models/model.js";
import type { Problem } from "../problem.js";
import { allocatedParameters } from "../rivals/layerwise.js";
import { LEARNING_RATE, MOMENTUM, WEIGHT_DECAY } from "../rules.js";
import { timeTogether } from "./in-turn.js";
import type { Collective, Transport } from "./internals.js";
import type { JobRow } from "./task.js";

/** Names of who is timed; the topic reads the samples by them. */
export const [WHOLE, SHARDED] = ["DataParallel", "ShardedLARS"] as const;

const CHECKED_STEPS = 2;
/** A process of a machine that is shared has a core. */
const THREADS = 1;

/** @param bits 32 or 8, of the state */
export function timeSteps(
  { transport, collective }: { transport: Transport; collective: Collective },
  bits: number,
  rounds: number,
): JobRow {
  if (bits !== 32 && bits !== 8) throw new Error(`steps: expected 32 or 8 bits, got ${bits}`);
  const problem = model("resnet50");
  const options = {
    lr: LEARNING_RATE,
    momentum: MOMENTUM,
    weightDecay: WEIGHT_DECAY,
    optimBits: bits,
  } as const;
  const parameters = allocatedParameters(problem);
  const start = (): void => {
    parameters.forEach(({ data }, index) => {
      data.set(problem.weights[index]!);
    });
  };
  const fill = (): void => {
    fillGradients(parameters, problem);
  };

  const alone = new LARS(parameters, options, { threads: THREADS });
  const expected = weightsAfter(parameters, { start, fill, step: () => alone.step() });
  const stateAlone = alone.stateBytes;
  alone.dispose();
  start();
  const whole = new LARS(parameters, options, { threads: THREADS });
  const parallel = new DataParallel(whole, collective, { checkEvery: 1_000_000 });
  const sharded = new ShardedLARS(parameters, options, {
    ...{ collective, threads: THREADS, checkEvery: 1_000_000 },
  });
  const contenders = [
    {
      name: WHOLE,
      prepare: fill,
      step: () => {
        parallel.step();
      },
    },
    {
      name: SHARDED,
      prepare: fill,
      step: () => {
        sharded.step();
      },
    },
  ];
  for (const { name, step } of contenders) {
    expectSame(name, weightsAfter(parameters, { start, fill, step }), expected);
  }
  expectCheck(expected);
  const samples = timeTogether(transport, contenders, rounds);
  const stateBytes = {
    [WHOLE]: mostOf(collective, whole.stateBytes),
    [SHARDED]: mostOf(collective, sharded.stateBytes),
  };
  if (stateBytes[WHOLE] !== stateAlone) throw new Error(`${WHOLE}: state of another size`);
  sharded.dispose();
  whole.dispose();
  for (const parameter of parameters) parameter.dispose();
  return { size: bits, samples, stateBytes };
}

/** The same on every process: then the mean over a power of two of them is, to the bit, what one process has. */
function fillGradients(parameters: readonly Parameter[], problem: Problem): void {
  parameters.forEach((parameter, index) => {
    parameter.grad!.set(problem.gradients[index]!);
  });
}

function weightsAfter(
  parameters: readonly Parameter[],
  { start, fill, step }: { start: () => void; fill: () => void; step: () => unknown },
): Float32Array[] {
  start();
  for (let count = 0; count < CHECKED_STEPS; count++) {
    fill();
    step();
  }
  return parameters.map(({ data }) => data.slice());
}

function firstDifference(weights: readonly Float32Array[], expected: readonly Float32Array[]) {
  return weights.findIndex((layer, index) =>
    layer.some((value, place) => value !== expected[index]![place]),
  );
}

function expectSame(
  name: string,
  weights: readonly Float32Array[],
  expected: readonly Float32Array[],
): void {
  const layer = firstDifference(weights, expected);
  if (layer !== -1) throw new Error(`${name}: layer ${layer} differs from that of one process`);
}

/** @throws Error when weights with one wrong bit pass */
function expectCheck(expected: readonly Float32Array[]): void {
  const last = expected.length - 1;
  const wrong = expected.map((layer) => layer.slice());
  new Uint32Array(wrong[last]!.buffer)[0]! ^= 1;
  if (firstDifference(wrong, expected) !== last) throw new Error("a wrong bit passes the check");
}

/** The largest number of all processes. */
function mostOf(collective: Collective, bytes: number): number {
  const all = new Float64Array(collective.size);
  all[collective.rank] = bytes;
  collective.allGather(all, new Array<number>(collective.size).fill(1));
  return Math.max(...all);
}
