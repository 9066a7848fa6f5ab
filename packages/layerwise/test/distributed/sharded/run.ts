/** One rank of a sharded training that saves, ends, and goes on. */
import { createHash } from "node:crypto";
import type { Collective } from "../../../src/distributed/collective.js";
import { DataParallel } from "../../../src/distributed/data-parallel.js";
import { ShardedLARS8bit } from "../../../src/distributed/sharded/sharded-lars.js";
import { excludeFromAdaptation, Parameter } from "../../../src/index.js";
import { decodeCheckpoint, encodeCheckpoint } from "../../../src/state/checkpoint.js";
import { randomArray } from "../../helpers/random.js";

/** Layers of a chunk and less, of exactly one, and of several: at 8 processes some span three. */
const SHAPES = [[10], [32_768], [300, 700], [5, 5], [7]];
const CLIPPED = { maxGradNorm: 50 };
/** Micro-batches of a batch: leaves of the sum. */
const LEAVES = 8;

export interface Leg {
  /** A checkpoint to go on from; null: a new training. */
  readonly from: Uint8Array | null;
  readonly weights: readonly Float32Array[] | null;
  readonly firstStep: number;
  readonly steps: number;
  /** Without exclusion and clipping. */
  readonly isPlain?: boolean;
}

export interface LegOutcome {
  readonly checkpoint: Uint8Array;
  readonly weights: Float32Array[];
  readonly digest: string;
  readonly stateBytes: number;
  /** Collective calls of the last step. */
  readonly calls: readonly string[];
  readonly refusals: readonly string[];
}

function leafSum(begin: number, end: number, make: (leaf: number) => Float32Array): Float32Array {
  if (end - begin === 1) return make(begin);
  const middle = (begin + end) / 2;
  const [left, right] = [leafSum(begin, middle, make), leafSum(middle, end, make)];
  return left.map((value, index) => value + right[index]!);
}

export function run(
  collective: Collective,
  { from, weights, firstStep, steps, isPlain = false }: Leg,
): LegOutcome {
  const { rank, size } = collective;
  const parameters = SHAPES.map((shape, layer) => {
    const parameter = Parameter.allocate(shape, { name: `layer ${layer}` });
    parameter.data.set(weights?.[layer] ?? randomArray(parameter.size, layer + 1));
    return parameter;
  });
  const optimizer = new ShardedLARS8bit(
    isPlain ? parameters : excludeFromAdaptation(parameters),
    { lr: 0.1, momentum: 0.9, weightDecay: 1e-3, nesterov: true, ...(isPlain ? {} : CLIPPED) },
    { collective, gradients: "sum", threads: 1 },
  );
  if (from !== null) optimizer.loadStateDict(decodeCheckpoint(from));
  const { calls } = collective as unknown as { calls?: string[] };
  let before = 0;
  for (let step = firstStep; step < firstStep + steps; step++) {
    parameters.forEach((parameter, layer) => {
      const share = LEAVES / size;
      const make = (leaf: number): Float32Array =>
        randomArray(parameter.size, 1000 * step + 100 * layer + leaf, { scale: 10 ** (leaf % 3) });
      parameter.grad.set(leafSum(rank * share, (rank + 1) * share, make));
    });
    before = calls?.length ?? 0;
    optimizer.step({ gradScale: 1 / LEAVES });
  }
  const stepCalls = calls?.slice(before) ?? [];
  const refusals = [
    () => new DataParallel(optimizer, collective),
    () => optimizer.loadStateDict({ step: 1, layers: [] }),
    () => new ShardedLARS8bit(parameters, { lr: -1 }, { collective }),
  ].map((refused) => {
    try {
      refused();
      return "nothing";
    } catch (error) {
      return String(error);
    }
  });
  const checkpoint = encodeCheckpoint(optimizer.stateDict());
  const { stateBytes } = optimizer;
  const after = parameters.map(({ data }) => Float32Array.from(data));
  const hash = createHash("sha256").update(checkpoint);
  for (const data of after) hash.update(new Uint8Array(data.buffer));
  optimizer.dispose();
  for (const parameter of parameters) parameter.dispose();
  const digest = hash.digest("hex");
  return { checkpoint, weights: after, digest, stateBytes, calls: stepCalls, refusals };
}
