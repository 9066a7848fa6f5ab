/**
 * Programs of data-parallel training as plain data, which threads and processes can be sent, and what one process makes
 * of them. oracle.ts says what they should make.
 */
import { createHash } from "node:crypto";
import type { Collective } from "../../../src/distributed/collective.js";
import { DataParallel } from "../../../src/distributed/data-parallel.js";
import type { DataParallelOptions } from "../../../src/distributed/data-parallel.js";
import {
  ShardedLARS,
  ShardedLARS32bit,
  ShardedLARS8bit,
} from "../../../src/distributed/sharded/sharded-lars.js";
import { expectSameWeights } from "../../../src/distributed/weights.js";
import { LARS, LARS32bit, LARS8bit, Parameter } from "../../../src/index.js";
import type { LARSOptions, ParamGroupOptions, StateDict, StepReport } from "../../../src/index.js";
import { randomArray, uniform } from "../../helpers/random.js";

/** A layer by what its weights are drawn from; every rank draws others. */
export interface LayerSpec {
  readonly name: string | null;
  readonly size: number;
  readonly seed: number;
  readonly scale: number;
  /** In the kernels' memory, or outside. */
  readonly isAllocated: boolean;
}

export interface GroupSpec {
  readonly layers: readonly LayerSpec[];
  readonly options: Partial<LARSOptions>;
}

export interface ValuesSpec {
  readonly seed: number;
  readonly scale: number;
  readonly zeros: number;
  /** Whole numbers, whose sums are exact in any order. */
  readonly isWhole: boolean;
}

/** The gradient of one layer on one rank: none, one with a NaN, one that is too short, or drawn. */
export type GradientSpec = null | "NaN" | "short" | ValuesSpec;

export const CLASSES = { LARS, LARS8bit, LARS32bit };
const SHARDED = { LARS: ShardedLARS, LARS8bit: ShardedLARS8bit, LARS32bit: ShardedLARS32bit };

/** What a program does with the processes' optimizer. */
type Parallel = Pick<DataParallel, "step" | "check" | "gradientReady" | "synchronize">;

export interface CreateSpec {
  readonly className: keyof typeof CLASSES;
  readonly kernel: "wasm" | "reference";
  readonly groups: readonly GroupSpec[];
  readonly options: LARSOptions;
  readonly parallel: DataParallelOptions;
  /** Trained by ShardedLARS in the place of DataParallel. */
  readonly isSharded?: boolean;
}

export type Command =
  | ({ readonly kind: "create" } & CreateSpec)
  | {
      readonly kind: "step";
      /** By rank, then by layer. */
      readonly gradients: readonly (readonly GradientSpec[])[];
      readonly gradScale: number;
      /** By rank: seeds of an order in which gradients are announced, and whether all of them are; null: none is. */
      readonly announced: readonly ({ readonly seed: number; readonly isAll: boolean } | null)[];
    }
  /** A live option, on one rank or on all. */
  | {
      readonly kind: "set";
      readonly rank: number | null;
      readonly group: number;
      readonly name: keyof LARSOptions;
      readonly value: unknown;
    }
  | { readonly kind: "add"; readonly rank: number | null; readonly group: GroupSpec }
  | { readonly kind: "save" }
  /** Loads what was saved last: into the optimizer in use, or a new one; on all ranks, or on rank 0 alone. */
  | { readonly kind: "load"; readonly isNew: boolean; readonly isOnAll: boolean }
  | { readonly kind: "check" }
  /** Changes one bit of a weight. */
  | { readonly kind: "corrupt"; readonly rank: number; readonly layer: number };

export interface Outcome {
  /** What was thrown: "RangeError: …". */
  readonly error: string | null;
  readonly report: StepReport | null;
  /** Of all weights and the state. */
  readonly digest: string;
}

export function digestOf(parameters: readonly Parameter[], state: StateDict): string {
  const hash = createHash("sha256");
  for (const { data } of parameters) hash.update(bytesOf(data));
  hash.update(String(state.step));
  for (const { step, momentum, gradientHistory } of state.layers) {
    hash.update(`${step} ${momentum?.kind ?? "none"} ${gradientHistory?.length ?? "none"}`);
    if (gradientHistory !== null) hash.update(bytesOf(gradientHistory));
    if (momentum?.kind === "float32") hash.update(bytesOf(momentum.values));
    if (momentum?.kind === "blockwise") {
      hash.update(momentum.codes).update(bytesOf(momentum.absmax));
    }
  }
  return hash.digest("hex");
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  // A copy: hashes take no views of shared memory.
  return new Uint8Array(buffer, byteOffset, byteLength).slice();
}

/** A layer as a rank starts with it. */
export function parameterOf(
  { name, size, seed, scale, isAllocated }: LayerSpec,
  rank: number,
): Parameter {
  const options = name === null ? {} : { name };
  const weights = randomArray(size, seed + 31 * rank, { scale });
  if (!isAllocated) return new Parameter(weights, options);
  const parameter = Parameter.allocate([size], options);
  parameter.data.set(weights);
  return parameter;
}

export function valuesOf({ seed, scale, zeros, isWhole }: ValuesSpec, size: number): Float32Array {
  const values = randomArray(size, seed, { scale, zeros });
  return values.map((value, index) => {
    // Zeros of both signs: −0 + 0 = 0, so a rank without a gradient must not add 0.
    if (value === 0) return index % 2 === 0 ? 0 : -0;
    return isWhole ? Math.round((100 * value) / scale) : value;
  });
}

/** The gradient of a layer on a rank. */
export function gradientOf(spec: GradientSpec, size: number): Float32Array | null {
  if (spec === null) return null;
  if (spec === "short") return new Float32Array(size - 1);
  if (spec !== "NaN") return valuesOf(spec, size);
  const values = new Float32Array(size).fill(1);
  values[size >> 1] = NaN;
  return values;
}

/** Whether a rank does what a command says. */
function isFor(command: { readonly rank: number | null }, rank: number): boolean {
  return command.rank === null || command.rank === rank;
}

/** One process's training. */
export class Trainer {
  readonly #collective: Collective;
  #create!: CreateSpec;
  #parameters: Parameter[] = [];
  /** The arrays that allocated parameters came with. */
  #owned = new Map<Parameter, Float32Array>();
  #optimizer!: LARS;
  #parallel!: Parallel;
  #saved: { weights: Float32Array[]; state: StateDict } | null = null;

  constructor(collective: Collective) {
    this.#collective = collective;
  }

  run(command: Command): Outcome {
    let [error, report]: [string | null, StepReport | null] = [null, null];
    try {
      report = this.#execute(command) ?? null;
    } catch (thrown) {
      error = String(thrown);
    }
    return { error, report, digest: digestOf(this.#parameters, this.#optimizer.stateDict()) };
  }

  dispose(): void {
    this.#optimizer.dispose();
    for (const parameter of this.#parameters) parameter.dispose();
  }

  #execute(command: Command): StepReport | undefined {
    const { rank } = this.#collective;
    switch (command.kind) {
      case "create":
        this.#create = command;
        this.#parameters = [];
        this.#construct(this.#groups(command.groups));
        this.#parallel = this.#parallelOf();
        return undefined;
      case "step":
        return this.#step(command);
      case "set":
        if (!isFor(command, rank)) return undefined;
        Object.assign(this.#optimizer.paramGroups[command.group]!, {
          [command.name]: command.value,
        });
        return undefined;
      case "add":
        if (!isFor(command, rank)) return undefined;
        this.#optimizer.addParamGroup(this.#groups([command.group])[0]!);
        return undefined;
      case "save":
        this.#saved = {
          weights: this.#parameters.map(({ data }) => Float32Array.from(data)),
          state: this.#optimizer.stateDict(),
        };
        return undefined;
      case "load":
        this.#load(command);
        return undefined;
      case "check":
        this.#parallel.check();
        return undefined;
      case "corrupt":
        if (command.rank === rank) {
          const { data } = this.#parameters[command.layer]!;
          new Uint32Array(data.buffer, data.byteOffset)[data.length >> 1]! ^= 1;
        }
        return undefined;
    }
  }

  /** New parameters in groups of the optimizer's kind. */
  #groups(groups: readonly GroupSpec[]): ParamGroupOptions[] {
    return groups.map(({ layers, options }) => {
      const params = layers.map((layer) => parameterOf(layer, this.#collective.rank));
      for (const parameter of params) {
        this.#parameters.push(parameter);
        if (parameter.grad !== null) this.#owned.set(parameter, parameter.grad);
      }
      return { params, ...options };
    });
  }

  #construct(groups: ParamGroupOptions[]): void {
    const { className, options, kernel, parallel, isSharded = false } = this.#create;
    const { gradients = "mean" } = parallel;
    const collective = this.#collective;
    this.#optimizer = isSharded
      ? new SHARDED[className](groups, options, { collective, gradients, kernel, threads: 1 })
      : new CLASSES[className](groups, options, { kernel, threads: 1 });
  }

  #parallelOf(): Parallel {
    const { parallel, isSharded = false } = this.#create;
    if (!isSharded) return new DataParallel(this.#optimizer, this.#collective, parallel);
    return {
      step: (options) => this.#optimizer.step(options),
      check: () => {
        expectSameWeights(this.#collective, this.#parameters, 0);
      },
      gradientReady: () => undefined,
      synchronize: () => undefined,
    };
  }

  #step(command: Command & { kind: "step" }): StepReport {
    const { rank } = this.#collective;
    this.#parameters.forEach((parameter, layer) => {
      const gradient = gradientOf(command.gradients[rank]![layer] ?? null, parameter.size);
      const owned = this.#owned.get(parameter);
      parameter.grad = gradient;
      if (owned === undefined || gradient?.length !== owned.length) return;
      owned.set(gradient);
      parameter.grad = owned;
    });
    const announced = command.announced[rank] ?? null;
    if (announced !== null) this.#announce(announced);
    return this.#parallel.step({ gradScale: command.gradScale });
  }

  /** Announces gradients in a random order, all or about half of them. */
  #announce({ seed, isAll }: { seed: number; isAll: boolean }): void {
    const next = uniform(seed);
    const order = this.#parameters.map((parameter) => ({ parameter, at: next() }));
    order.sort((a, b) => a.at - b.at);
    for (const { parameter, at } of order) {
      if (isAll || at < 0.5) this.#parallel.gradientReady(parameter);
    }
  }

  #load({ isNew, isOnAll }: Command & { kind: "load" }): void {
    const { weights, state } = this.#saved!;
    const groups = this.#optimizer.paramGroups.map((group) => Object.assign({}, group));
    if (isNew) {
      this.#optimizer.dispose();
      this.#construct(groups);
    }
    // A sharded state is loaded by all: each takes its part.
    if (isOnAll || this.#create.isSharded === true || this.#collective.rank === 0) {
      this.#parameters.forEach(({ data }, layer) => {
        data.set(weights[layer]!);
      });
      this.#optimizer.loadStateDict(state);
    }
    if (isNew) {
      this.#parallel = this.#parallelOf();
    } else if (!isOnAll) {
      this.#parallel.synchronize();
    }
  }
}
