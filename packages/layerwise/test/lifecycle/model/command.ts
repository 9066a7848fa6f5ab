/** What a program may do, as data: it can be drawn, shrunk, printed, and sent to another process. */
import type { ClassName, Origin, WorldOptions } from "./world.js";

/** Numbers drawn from a seed. */
export interface Values {
  seed: number;
  scale: number;
  /** The part of them that is exactly 0. */
  zeros: number;
}

/**
 * `pick`, `optimizer` and `save` count modulo what there is, so that any sequence of commands means something: also
 * what is left of one when it shrinks.
 */
export type Command =
  | { kind: "allocate"; size: number; isNamed: boolean; values: Values }
  | {
      kind: "wrap";
      origin: Exclude<Origin, "allocated" | "tied">;
      size: number;
      isNamed: boolean;
      values: Values;
    }
  | { kind: "tie"; pick: number; isNamed: boolean }
  | {
      kind: "construct";
      className: ClassName;
      picks: number[];
      /** A mistake: the first parameter is given once more. */
      isTwice: boolean;
      options: WorldOptions;
      /** Options of a second group, to which every other parameter goes; null: one group. */
      second: Partial<WorldOptions> | null;
    }
  | {
      kind: "addGroup";
      optimizer: number;
      picks: number[];
      /** A mistake: one that the optimizer has already is given too. */
      isTwice: boolean;
      options: Partial<WorldOptions>;
    }
  | {
      kind: "setGradient";
      pick: number;
      way: "fill" | "own" | "original" | "shared" | "null";
      values: Values;
    }
  | {
      kind: "step";
      optimizer: number;
      /** New gradients for most layers, or null: those that are there. */
      values: Values | null;
      gradScale: number;
    }
  | { kind: "nonFinite"; optimizer: number; layer: number; at: number; value: number }
  | { kind: "setOption"; optimizer: number; group: number; change: Partial<WorldOptions> }
  | {
      kind: "wrongOption";
      optimizer: number;
      group: number;
      option: keyof WorldOptions | "maxUnorm";
      value: unknown;
    }
  | { kind: "save"; optimizer: number; asBytes: boolean }
  | { kind: "loadOld"; optimizer: number; save: number }
  | { kind: "loadNew"; save: number; isAllocated: boolean }
  | { kind: "disposeParameter"; pick: number }
  | { kind: "disposeOptimizer"; optimizer: number }
  | { kind: "resize"; pick: number; to: "shrink" | "grow" }
  | { kind: "detach"; pick: number }
  | { kind: "spoilGradient"; pick: number; how: "shrink" | "grow" | "detach" | "length" | "type" }
  | { kind: "accumulate"; pick: number; values: Values; factor: number }
  | {
      kind: "wrongAccumulate";
      pick: number;
      how: "length" | "type" | "scale" | "grad length" | "grad type";
    }
  | { kind: "zeroGrad"; optimizer: number };

/** Short enough to be read in a counterexample. */
export function shownCommand(command: Command): string {
  const { kind, ...rest } = command;
  return `${kind} ${JSON.stringify(rest)}`;
}
