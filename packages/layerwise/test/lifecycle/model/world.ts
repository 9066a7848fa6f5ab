/**
 * The world of a program as plain objects: what the library's public calls should have made of it. All of it can be
 * cloned and sent to another process; no line of the library is in it, only types.
 */
import type { TrustRatio } from "../../../src/index.js";

/** Numbers that one array or several names of it hold. */
export interface Cell {
  values: Float32Array;
}

/** How a parameter's weights came to be. */
export type Origin = "allocated" | "plain" | "subarray" | "resizable" | "tied";

export interface WorldParameter {
  name: string | null;
  shape: number[];
  size: number;
  origin: Origin;
  /** Tied parameters share it. */
  weights: Cell;
  gradient: Cell | null;
  /** What `Parameter.allocate` made beside the weights. */
  ownGradient: Cell | null;
  /**
   * "dangling": its array belongs to a parameter that was disposed of, and must not be used any more; the
   * caller's duty.
   */
  fate: "alive" | "disposed" | "detached" | "dangling";
}

/** γ: a number, or base / (1 + decay·step), which a schedule is made from. */
export type Rate = number | { base: number; decay: number };

export interface WorldOptions {
  lr: Rate;
  momentum: number;
  dampening: number;
  weightDecay: number;
  nesterov: boolean;
  optimBits: 8 | 32;
  min8bitSize: number;
  percentileClipping: number;
  trustRatio: TrustRatio;
  maxGradNorm: number | null;
  skipZeros: boolean;
  nonFinite: "throw" | "skip";
}

export type WorldMomentum =
  | { kind: "float32"; values: Float32Array }
  | { kind: "blockwise"; codes: Uint8Array; absmax: Float32Array };

export interface WorldLayer {
  parameter: WorldParameter;
  group: WorldGroup;
  steps: number;
  momentum: WorldMomentum | null;
  history: Float64Array | null;
}

export interface WorldGroup {
  options: WorldOptions;
}

export type ClassName = "LARS" | "LARS8bit" | "LARS32bit";

export interface WorldOptimizer {
  className: ClassName;
  /** What groups inherit. */
  defaults: WorldOptions;
  groups: WorldGroup[];
  layers: WorldLayer[];
  steps: number;
  isDisposed: boolean;
}

/** A saved state, as it was when it was saved. */
export interface WorldSave {
  steps: number;
  layers: SavedLayer[];
  /** What the optimizer was, so that another one can be made like it. */
  className: ClassName;
  defaults: WorldOptions;
}

export interface SavedLayer {
  name: string | null;
  shape: number[];
  steps: number;
  momentum: WorldMomentum | null;
  history: Float64Array | null;
  /** The weights at that time. */
  weights: Float32Array;
}

export interface World {
  parameters: WorldParameter[];
  optimizers: WorldOptimizer[];
  saves: WorldSave[];
}

export function emptyWorld(): World {
  return { parameters: [], optimizers: [], saves: [] };
}

/** How errors and reports name a layer. */
export function labelOf(optimizer: WorldOptimizer, layer: WorldLayer): string {
  return layer.parameter.name ?? `layer ${optimizer.layers.indexOf(layer)}`;
}

export function rateOf(lr: Rate, step: number): number {
  return typeof lr === "number" ? lr : lr.base / (1 + lr.decay * step);
}

/** The kind of momentum that a layer's options ask for. */
export function wantedKind(options: WorldOptions, size: number): "none" | WorldMomentum["kind"] {
  if (options.momentum === 0) return "none";
  return options.optimBits === 8 && size >= options.min8bitSize ? "blockwise" : "float32";
}

/** The option that is wrong in a combination, by the specification's table, or null. */
export function wrongOption(options: WorldOptions, className: ClassName): string | null {
  if (options.nesterov && (options.momentum === 0 || options.dampening !== 0)) return "nesterov";
  const isClassic =
    options.trustRatio.rule === "scale-gradient" && options.trustRatio.momentumOrder === "classic";
  if (options.dampening !== 0 && isClassic) return "dampening";
  if (className === "LARS32bit" && options.optimBits !== 32) return "optimBits";
  return null;
}

export function copyOfMomentum(momentum: WorldMomentum | null): WorldMomentum | null {
  if (momentum === null) return null;
  return momentum.kind === "float32"
    ? { kind: "float32", values: momentum.values.slice() }
    : { kind: "blockwise", codes: momentum.codes.slice(), absmax: momentum.absmax.slice() };
}

/** The library's defaults, by the specification's table, with a rate. */
export const defaultOptions: WorldOptions = {
  ...{ lr: 0.1, momentum: 0, dampening: 0, weightDecay: 0, nesterov: false },
  ...{ optimBits: 32, min8bitSize: 4096, percentileClipping: 100, maxGradNorm: null },
  ...{ skipZeros: false, nonFinite: "throw" },
  trustRatio: { rule: "clip-update", maxUnorm: 0.02, whenZero: "unit" },
};
