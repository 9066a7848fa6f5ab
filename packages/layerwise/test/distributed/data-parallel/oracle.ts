/**
 * What programs of data-parallel training should make: the local optimizer, on gradients that are summed up in a
 * balanced binary tree.
 */
import { expect } from "vitest";
import type { LARS, Parameter, StepReport } from "../../../src/index.js";
import { CLASSES, digestOf, gradientOf, parameterOf } from "./program.js";
import type { Command, CreateSpec, GradientSpec, GroupSpec, Outcome } from "./program.js";

/** What every rank should tell of a command. */
export interface Expected {
  /** What the error says; null: there is none. */
  readonly error: RegExp | null;
  readonly report: StepReport | null;
  /** null: ranks have weights of their own now. */
  readonly digest: string | null;
}

type StepCommand = Command & { kind: "step" };
type SetCommand = Command & { kind: "set" };

/** Sums over ranks in the order of the specification: pairs of neighbours, then pairs of pairs. */
export function treeSum(gradients: readonly (Float32Array | null)[], size: number): Float32Array {
  if (gradients.length === 1) return gradients[0] ?? new Float32Array(size).fill(-0);
  const half = Math.ceil(gradients.length / 2);
  const left = treeSum(gradients.slice(0, half), size);
  const right = treeSum(gradients.slice(half), size);
  return left.map((value, index) => value + right[index]!);
}

/** Whether the optimizer refuses a value. */
function isWrong({ name, value }: SetCommand): boolean {
  return name === "lr" && (value as number) < 0;
}

export class Oracle {
  readonly #size: number;
  #create!: CreateSpec;
  #parameters: Parameter[] = [];
  #optimizer!: LARS;
  /** The last values set, by group and name, of each rank. */
  readonly #set = new Map<string, unknown[]>();
  readonly #wrong = new Map<string, boolean[]>();
  /** Groups that each rank has added. */
  #added: GroupSpec[][] = [];
  /** Whether ranks have different weights. */
  #isTorn = false;
  #saved: { weights: Float32Array[]; state: ReturnType<LARS["stateDict"]> } | null = null;

  constructor(size: number) {
    this.#size = size;
    this.#added = Array.from({ length: size }, () => []);
  }

  /** Whether a command means something now. */
  canRun(command: Command): boolean {
    if (this.#isTorn) return command.kind === "check" || command.kind === "load";
    switch (command.kind) {
      case "load":
        return (
          this.#saved?.weights.length === this.#parameters.length &&
          !this.#hasPending &&
          this.#differences().length === 0 &&
          ![...this.#wrong.values()].flat().includes(true)
        );
      case "set":
        return (
          command.group < this.#optimizer.paramGroups.length &&
          (command.rank ?? 0) < this.#size &&
          !(command.name === "optimBits" && this.#create.className === "LARS32bit")
        );
      case "add":
        return (command.rank ?? 0) < this.#size;
      case "save":
        return !this.#hasPending;
      case "corrupt":
        // Only what can be made good again: by loading.
        return (
          command.rank < this.#size && this.canRun({ kind: "load", isNew: false, isOnAll: false })
        );
      case "create":
      case "step":
      case "check":
        return true;
    }
  }

  expected(command: Command): Expected {
    const { error = null, report = null } = this.#execute(command);
    const isTorn = this.#isTorn || this.#hasPending;
    const digest = isTorn ? null : digestOf(this.#parameters, this.#optimizer.stateDict());
    return { error, report, digest };
  }

  dispose(): void {
    this.#optimizer.dispose();
    for (const parameter of this.#parameters) parameter.dispose();
  }

  #execute(command: Command): { error?: RegExp; report?: StepReport } {
    switch (command.kind) {
      case "create": {
        this.#create = command;
        const groups = command.groups.map((group) => this.#group(group));
        const { className, options, kernel } = command;
        this.#optimizer = new CLASSES[className](groups, options, { kernel, threads: 1 });
        return {};
      }
      case "step":
        return this.#step(command);
      case "set":
        this.#setOption(command);
        return {};
      case "add":
        this.#added.forEach((added, rank) => {
          if (command.rank === null || command.rank === rank) added.push(command.group);
        });
        return {};
      case "save":
        this.#saved = {
          weights: this.#parameters.map(({ data }) => Float32Array.from(data)),
          state: this.#optimizer.stateDict(),
        };
        return {};
      case "load":
        this.#parameters.forEach(({ data }, layer) => {
          data.set(this.#saved!.weights[layer]!);
        });
        this.#optimizer.loadStateDict(this.#saved!.state);
        this.#isTorn = false;
        return {};
      case "check":
        return this.#isTorn && this.#size > 1 ? { error: /^Error: weights after step/ } : {};
      case "corrupt":
        this.#isTorn = true;
        return {};
    }
  }

  #group({ layers, options }: GroupSpec): { params: Parameter[] } {
    const params = layers.map((layer) => parameterOf(layer, 0));
    this.#parameters.push(...params);
    return { params, ...options };
  }

  #setOption(command: SetCommand): void {
    const { group, name, rank: only, value } = command;
    const live = this.#optimizer.paramGroups[group]!;
    const key = `group ${group}: expected ${name}`;
    const values = this.#set.get(key) ?? Array<unknown>(this.#size).fill(live[name as "lr"]);
    const wrong = this.#wrong.get(key) ?? Array<boolean>(this.#size).fill(false);
    for (let rank = 0; rank < this.#size; rank++) {
      if (only !== null && only !== rank) continue;
      values[rank] = value;
      wrong[rank] = isWrong(command);
    }
    this.#set.set(key, values);
    this.#wrong.set(key, wrong);
    Object.assign(live, { [name]: values[0] });
  }

  /** What ranks have different, as errors say it. */
  #differences(): string[] {
    const options = [...this.#set].flatMap(([key, values]) =>
      values.some((value) => value !== values[0]) ? [key] : [],
    );
    const isUneven = this.#added.some(({ length }) => length !== this.#added[0]!.length);
    return isUneven ? ["optimizer: expected number of groups", ...options] : options;
  }

  /** Whether groups were added that no step has included yet. */
  get #hasPending(): boolean {
    return this.#added.some(({ length }) => length > 0);
  }

  #step({ gradients, gradScale }: StepCommand): { error?: RegExp; report?: StepReport } {
    const refusals = this.#refusals(gradients);
    if (refusals.length > 0) return { error: new RegExp(refusals.join("|")) };
    for (const group of this.#added[0]!) this.#optimizer.addParamGroup(this.#group(group));
    this.#added = this.#added.map(() => []);
    this.#parameters.forEach((parameter, layer) => {
      const parts = gradients.map((ofRank) => gradientOf(ofRank[layer] ?? null, parameter.size));
      const isNone = parts.every((part) => part === null);
      parameter.grad = isNone ? null : treeSum(parts, parameter.size);
    });
    const parts = this.#create.parallel.gradients === "sum" ? 1 : this.#size;
    try {
      return { report: this.#optimizer.step({ gradScale: gradScale / parts }) };
    } catch (error) {
      expect(String(error)).toMatch(/^NonFiniteGradientError/);
      return { error: /^NonFiniteGradientError/ };
    }
  }

  /** Why processes refuse a step. */
  #refusals(gradients: readonly (readonly GradientSpec[])[]): string[] {
    const refusals = [];
    const layers = this.#parameters.length + this.#addedLayers;
    if (gradients.some((ofRank) => ofRank.slice(0, layers).includes("short"))) {
      refusals.push("grad: expected a Float32Array of");
    }
    if ([...this.#wrong.values()].flat().includes(true)) refusals.push("lr: expected a finite");
    return [...refusals, ...this.#differences()];
  }

  /** Layers of added groups that any rank has. */
  get #addedLayers(): number {
    const counts = this.#added.map((groups) => groups.flatMap(({ layers }) => layers).length);
    return Math.max(...counts);
  }
}

/** Fails where a rank's outcome is not the expected one. */
export function expectOutcomes(
  actual: readonly Outcome[],
  expected: Expected,
  place: string,
): void {
  actual.forEach(({ error, report, digest }, rank) => {
    const where = `${place}, rank ${rank} of ${actual.length}`;
    if (expected.error === null) expect(error, where).toBeNull();
    else expect(error ?? "no error", where).toMatch(expected.error);
    // All processes throw the same words, and report the same.
    expect(error, where).toBe(actual[0]!.error);
    expect(report, where).toEqual(expected.report);
    if (expected.digest !== null) expect(digest, where).toBe(expected.digest);
  });
}
