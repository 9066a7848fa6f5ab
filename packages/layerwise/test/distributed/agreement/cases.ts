/** Jobs whose processes differ in one thing, and what all of them should say. */
import { agreeOnJob, StepAgreement } from "../../../src/distributed/agreement.js";
import type { Collective } from "../../../src/distributed/collective.js";
import { DataParallel } from "../../../src/distributed/data-parallel.js";
import type { DataParallelOptions } from "../../../src/distributed/data-parallel.js";
import { LARS, LARS8bit, Parameter, schedules } from "../../../src/index.js";
import type { KernelOptions, LARSOptions, ParamGroupOptions } from "../../../src/index.js";

/** A job's optimizer on one rank. */
interface Setup {
  readonly type?: typeof LARS;
  readonly groups?: readonly ParamGroupOptions[];
  readonly options?: Partial<LARSOptions>;
  readonly kernel?: KernelOptions;
  readonly parallel?: DataParallelOptions;
}

function layer(name: string | undefined, shape: number[]): Parameter {
  const data = new Float32Array(shape.reduce((size, length) => size * length, 1));
  return new Parameter(data, name === undefined ? { shape } : { name, shape });
}

const conv1 = layer("conv1", [3, 3]);
const bias = layer("bias", [3]);

function construct(collective: Collective, setup: Setup): DataParallel {
  const { type = LARS, groups = [{ params: [conv1, bias] }], options, kernel, parallel } = setup;
  const optimizer = new type(groups, { lr: 0.1, ...options }, { threads: 1, ...kernel });
  try {
    return new DataParallel(optimizer, collective, parallel);
  } finally {
    optimizer.dispose();
  }
}

export interface Case {
  readonly name: string;
  readonly run: (collective: Collective) => unknown;
  /** What every rank of four throws; null: nothing. */
  readonly error: string | null;
}

/** Rank 2 has another setup than the others. */
function odd(name: string, setup: Setup, difference: string, rest: Setup = {}): Case {
  return {
    name,
    run: (collective) => construct(collective, collective.rank === 2 ? setup : rest),
    error: `Error: rank 2: ${difference}`,
  };
}

const step = (size: number): number => 1 / (1 + size);

export const cases: readonly Case[] = [
  {
    name: "nothing differs",
    run: (collective) => construct(collective, {}),
    error: null,
  },
  odd(
    "a shape",
    { groups: [{ params: [layer("conv1", [3, 4]), bias] }] },
    'layer "conv1": expected shape [3, 3], as on rank 0, got [3, 4]',
  ),
  odd(
    "a shape of the same size",
    { groups: [{ params: [layer("conv1", [9]), bias] }] },
    'layer "conv1": expected shape [3, 3], as on rank 0, got [9]',
  ),
  odd(
    "a shape without a name",
    { groups: [{ params: [layer(undefined, [2])] }] },
    "layer 0 of group 0: expected shape [1, 2], as on rank 0, got [2]",
    { groups: [{ params: [layer(undefined, [1, 2])] }] },
  ),
  odd(
    "a name",
    { groups: [{ params: [layer("conv2", [3, 3]), bias] }] },
    'layer 0 of group 0: expected name "conv1", as on rank 0, got "conv2"',
  ),
  odd(
    "the order of layers",
    { groups: [{ params: [bias, conv1] }] },
    'layer 0 of group 0: expected name "conv1", as on rank 0, got "bias"',
  ),
  odd(
    "a layer too few",
    { groups: [{ params: [conv1] }] },
    "group 0: expected number of layers 2, as on rank 0, got 1",
  ),
  odd(
    "groups",
    { groups: [{ params: [conv1] }, { params: [bias] }] },
    "optimizer: expected number of groups 1, as on rank 0, got 2",
  ),
  odd(
    "the class",
    { type: LARS8bit },
    "optimizer: expected class LARS, as on rank 0, got LARS8bit",
  ),
  odd(
    "the kernel",
    { kernel: { kernel: "reference" } },
    'optimizer: expected kernel "wasm", as on rank 0, got "reference"',
  ),
  odd("a rate", { options: { lr: 0.2 } }, "group 0: expected lr 0.1, as on rank 0, got 0.2"),
  odd(
    "a schedule in the place of a rate",
    { options: { lr: schedules.constant(0.1) } },
    "group 0: expected lr 0.1, as on rank 0, got a function",
  ),
  odd(
    "a schedule after its warm-up",
    { options: { lr: schedules.warmup({ peak: 1, steps: 20 }) } },
    "group 0, step 10: expected lr 1, as on rank 0, got 0.55",
    {
      options: {
        lr: schedules.sequence([
          { schedule: schedules.warmup({ peak: 1, steps: 20 }), steps: 10 },
          { schedule: schedules.constant(1) },
        ]),
      },
    },
  ),
  ...Object.entries({
    momentum: 0.9,
    dampening: 0.5,
    weightDecay: 0.1,
    optimBits: 8,
    min8bitSize: 1,
    percentileClipping: 5,
    maxGradNorm: 1,
    skipZeros: true,
    nonFinite: "skip",
  }).map(([name, value]) => {
    const defaults: Record<string, unknown> = {
      ...{ optimBits: 32, min8bitSize: 4096, percentileClipping: 100, maxGradNorm: null },
      ...{ skipZeros: false, nonFinite: "throw" },
    };
    const shown = (given: unknown): string => JSON.stringify(given);
    return odd(
      name,
      { options: { [name]: value } },
      `group 0: expected ${name} ${shown(defaults[name] ?? (name === "maxGradNorm" ? null : 0))}, as on rank 0, got ${shown(value)}`,
    );
  }),
  odd(
    "nesterov",
    { options: { momentum: 0.9, nesterov: true } },
    "group 0: expected nesterov false, as on rank 0, got true",
    { options: { momentum: 0.9 } },
  ),
  odd(
    "a field of the rule",
    { options: { maxUnorm: 0.01 } },
    "group 0: expected trustRatio.maxUnorm 0.02, as on rank 0, got 0.01",
  ),
  odd(
    "the rule",
    { options: { trustRatio: "none" } },
    'group 0: expected trustRatio.rule "clip-update", as on rank 0, got "none"',
  ),
  odd(
    "an option of the second group",
    { groups: [{ params: [conv1] }, { params: [bias], weightDecay: 1 }] },
    "group 1: expected weightDecay 0, as on rank 0, got 1",
    { groups: [{ params: [conv1] }, { params: [bias] }] },
  ),
  odd(
    "sums and means",
    { parallel: { gradients: "sum" } },
    'DataParallel: expected gradients "mean", as on rank 0, got "sum"',
  ),
  odd(
    "when weights are compared",
    { parallel: { checkEvery: 7 } },
    "DataParallel: expected checkEvery 100, as on rank 0, got 7",
  ),
  odd(
    "buckets",
    { parallel: { bucketBytes: 7 } },
    "DataParallel: expected bucketBytes 26214400, as on rank 0, got 7",
  ),
  {
    name: "rank 0 from all others",
    run: (collective) => construct(collective, { options: { lr: collective.rank === 0 ? 1 : 2 } }),
    error: "Error: ranks 1 to 3: group 0: expected lr 1, as on rank 0, got 2",
  },
  {
    name: "each from each",
    run: (collective) => construct(collective, { options: { lr: collective.rank } }),
    error: [1, 2, 3]
      .map((rank) => `rank ${rank}: group 0: expected lr 0, as on rank 0, got ${rank}`)
      .join("\n")
      .replace("", "Error: "),
  },
  {
    name: "a wrong option on one rank",
    run: (collective) => construct(collective, { parallel: { checkEvery: collective.rank - 1 } }),
    error: "RangeError: rank 0: DataParallel: checkEvery: expected a whole number ≥ 0, got -1",
  },
  {
    name: "an option of a wrong type on two ranks",
    run: (collective) =>
      construct(collective, {
        parallel: { gradients: (collective.rank % 2 === 1 ? 1 : "sum") as "sum" },
      }),
    error: 'TypeError: ranks 1 and 3: DataParallel: gradients: expected "mean" or "sum", got 1',
  },
  {
    name: "an unknown option on all ranks",
    run: (collective) => construct(collective, { parallel: { buckets: 1 } as DataParallelOptions }),
    error:
      'TypeError: all ranks: DataParallel: options: unknown name "buckets"; expected one of gradients, checkEvery, bucketBytes',
  },
  {
    name: "no optimizer on one rank",
    run: (collective) => {
      if (collective.rank !== 3) return construct(collective, {});
      return new DataParallel(JSON.parse("{}") as LARS, collective);
    },
    error:
      "TypeError: rank 3: DataParallel: optimizer: expected a LARS, LARS8bit or LARS32bit, got an object",
  },
  {
    name: "an optimizer that was disposed of on one rank",
    run: (collective) => {
      if (collective.rank !== 1) return construct(collective, {});
      const optimizer = new LARS([conv1], { lr: 1 }, { threads: 1 });
      optimizer.dispose();
      return new DataParallel(optimizer, collective);
    },
    error: "Error: rank 1: expected an optimizer in use, got a disposed one",
  },
  {
    name: "weights that are gone on one rank",
    run: (collective) => {
      const parameter = Parameter.allocate([5], { name: "gone" });
      const optimizer = new LARS([parameter], { lr: 1 }, { threads: 1 });
      if (collective.rank === 1) parameter.dispose();
      return new DataParallel(optimizer, collective);
    },
    error: 'RangeError: rank 1: layer "gone": data: expected a Float32Array of 5, got one of 0',
  },
  {
    name: "a schedule that knows only its own steps",
    run: (collective) => {
      const lr = (at: number): number => {
        if (at > 20) throw new Error("beyond the end");
        return step(at);
      };
      return construct(collective, { options: { lr } });
    },
    error: null,
  },
  {
    name: "facts of the caller's",
    run: (collective) => {
      const value = collective.rank === 2 ? "b" : "a";
      agreeOnJob(collective, () => [{ of: "data", what: "checksum", value }]);
    },
    error: "Error: rank 2: data: expected checksum a, as on rank 0, got b",
  },
  {
    name: "a fact that one rank lacks",
    run: (collective) => {
      const facts = [{ of: "data", what: "checksum", value: "a" }];
      agreeOnJob(collective, () => (collective.rank === 1 ? [] : facts));
    },
    error: "Error: rank 1: expected data: checksum a, as on rank 0, got nothing",
  },
  {
    name: "a fact that one rank has more",
    run: (collective) => {
      const facts = [{ of: "data", what: "checksum", value: "ä€𝄞" }];
      agreeOnJob(collective, () => (collective.rank === 1 ? facts : []));
    },
    error: "Error: rank 1: expected nothing more, as on rank 0, got data: checksum ä€𝄞",
  },
  {
    name: "a step's fingerprint, of something that facts do not tell",
    run: (collective) => {
      const agreement = new StepAgreement(collective, () => []);
      const fingerprint = collective.rank % 2;
      agreement.agree({ gradients: [true], fingerprint, error: undefined });
    },
    error:
      "Error: step: expected the same layers, options and rates on all ranks, got different ones on ranks 0 and 2 than on ranks 1 and 3",
  },
  {
    name: "an error in a step, with a fingerprint that differs too",
    run: (collective) => {
      const agreement = new StepAgreement(collective, () => []);
      const error = collective.rank === 3 ? new RangeError("wrong") : undefined;
      agreement.agree({ gradients: [], fingerprint: collective.rank, error });
    },
    error: "RangeError: rank 3: wrong",
  },
];

/** What each case throws on this rank, one after the other. */
export function run(collective: Collective): (string | null)[] {
  return cases.map(({ run: runCase }) => {
    try {
      runCase(collective);
      return null;
    } catch (error) {
      return String(error);
    }
  });
}
