/**
 * 100,000 damaged checkpoints: each is refused with an error of this library, or loads into an optimizer that then
 * steps to finite weights. No syntax errors, no errors of the engine, no NaN.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeCheckpoint, encodeCheckpoint } from "../src/checkpoint.js";
import { LARS } from "../src/index.js";
import type { LARSOptions, Parameter } from "../src/index.js";
import { reference, wasm } from "./helpers/kernels.js";
import {
  damagedBytes,
  editedHeader,
  editedState,
  editedText,
  editedValues,
  pick,
  spliced,
} from "./helpers/mutations.js";
import type { Random } from "./helpers/mutations.js";
import { parameterOf, runSteps } from "./helpers/problem.js";
import { randomArray, uniform } from "./helpers/random.js";

const MUTANTS = 100_000;
/** The same mutants on every run; `FC_SEED=… npx vitest` makes others. */
const SEED = Number(process.env.FC_SEED ?? 20170813);

/** A valid file, and optimizers that it loads into. */
interface Subject {
  file: Uint8Array;
  params: Parameter[];
  weights: Float32Array[];
  optimizers: LARS[];
}

function subject(shapes: number[][], named: boolean, options: LARSOptions, steps: number): Subject {
  const params = shapes.map((shape, index) => {
    const values = randomArray(
      shape.reduce((size, length) => size * length, 1),
      index + 1,
    );
    return parameterOf(values, { shape, ...(named ? { name: `layer ${index}` } : {}) });
  });
  const optimizers = [reference, wasm].map((kernel) => new LARS(params, options, kernel.options));
  runSteps(optimizers[0]!, params, steps);
  const tensors = { "layer 0": { shape: shapes[0]!, data: params[0]!.data } };
  return {
    file: encodeCheckpoint(
      optimizers[0]!.stateDict(),
      named ? { tensors, metadata: { epoch: "3" } } : {},
    ),
    params,
    weights: params.map(({ data }) => data.slice()),
    optimizers,
  };
}

/** 8 bits with histories, 32 bits, and no state at all. */
function allSubjects(): Subject[] {
  const shapes = [[3, 2], [1], [2, 130]];
  const eightBits = {
    momentum: 0.9,
    optimBits: 8,
    min8bitSize: 2,
    percentileClipping: 50,
  } as const;
  return [
    subject(shapes, true, { lr: 0.1, ...eightBits }, 2),
    subject(shapes, false, { lr: 0.1, momentum: 0.9, trustRatio: "none" }, 3),
    subject(shapes, true, { lr: 0.1 }, 0),
  ];
}

/** How this library's refusals begin; the engine's begin otherwise. */
const REFUSALS = /^(safetensors|checkpoint|state)\b|^layer "/;

/** What came of a mutant: loaded and stepped, or refused and how. */
function outcome(
  bytes: Uint8Array,
  { params, weights, optimizers }: Subject,
  random: Random,
): string {
  const optimizer = pick(random, optimizers);
  try {
    optimizer.loadStateDict(decodeCheckpoint(bytes));
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) {
      if (REFUSALS.test(error.message)) return error.message;
    }
    throw error;
  }
  params.forEach(({ data }, index) => {
    data.set(weights[index]!);
  });
  optimizer.step();
  for (const { data } of params) {
    if (!data.every(Number.isFinite)) throw new Error(`stepped to weights ${data.join(", ")}`);
  }
  return "loaded";
}

type Mutate = (file: Uint8Array, random: Random, all: readonly Uint8Array[]) => Uint8Array;

/** Each with refusals that must be among its outcomes: a mutation that damages nothing would be no test. */
const mutations: [string, Mutate, RegExp[]][] = [
  [
    "bytes",
    damagedBytes,
    [/expected UTF-8/, /expected JSON/, /header: expected at most/, /finite/],
  ],
  [
    "splices",
    spliced,
    [
      /file: expected at least 8 bytes/,
      /the file is truncated/,
      /after the last tensor/,
      /first byte/,
    ],
  ],
  [
    "the header's text",
    editedText,
    [
      /each name once/,
      /expected JSON/,
      /expected at most 8 levels/,
      /lone surrogates/,
      /first byte/,
    ],
  ],
  [
    "the header's structure",
    editedHeader,
    [/dtype: /, /shape: /, /data_offsets: /, /to start at/, /format: /, /version: /, /got none/],
  ],
  [
    "the state's structure",
    editedState,
    [/\.step: /, /shape: /, /momentum: /, /gradientHistory: /, /got neither/, /layers/],
  ],
  ["the tensors' values", editedValues, [/values\[\d+\]: /, /absmax\[\d+\]: /, /History\[\d+\]: /]],
];

describe("damage to a checkpoint is refused, or loads and steps to finite weights", () => {
  const subjects = allSubjects();
  const files = subjects.map(({ file }) => file);
  const { stackTraceLimit } = Error;

  beforeAll(() => {
    // Nobody reads the traces of errors that are expected, and they take most of the time.
    Error.stackTraceLimit = 0;
  });
  afterAll(() => {
    Error.stackTraceLimit = stackTraceLimit;
    for (const { optimizers } of subjects) for (const optimizer of optimizers) optimizer.dispose();
  });

  it.each(mutations)("%s", (_, mutate, expected) => {
    const random = uniform(SEED);
    const outcomes = new Map<string, number>();
    const count = Math.ceil(MUTANTS / mutations.length);
    for (let index = 0; index < count; index++) {
      const chosen = pick(random, subjects);
      const mutant = mutate(chosen.file, random, files);
      try {
        const result = outcome(mutant, chosen, random);
        outcomes.set(result, (outcomes.get(result) ?? 0) + 1);
      } catch (error) {
        const text = JSON.stringify(new TextDecoder("latin1").decode(mutant.subarray(0, 4000)));
        throw new Error(`mutant ${index} of seed ${SEED}: ${text}`, { cause: error });
      }
    }
    const loaded = outcomes.get("loaded") ?? 0;
    expect(loaded).toBeGreaterThan(0);
    expect(loaded).toBeLessThan(count * 0.9);
    const messages = [...outcomes.keys()];
    for (const message of expected) expect(messages).toContainEqual(expect.stringMatching(message));
  });
});
