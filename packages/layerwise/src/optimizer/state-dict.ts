/** State in and out of an optimizer: plain objects of typed arrays and numbers. */
import { shown, shownShape } from "../check.js";
import type { Kernel } from "../kernels/kernel.js";
import { copyMomentum } from "../state/momentum.js";
import type { Momentum } from "../state/momentum.js";
import { checkedState } from "../state/saved-state.js";
import type { LayerState, StateDict } from "../state/saved-state.js";
import type { Layer } from "../step/layer.js";
import { makeMomenta, momentumAs, wantedMomentum } from "../step/momentum.js";
import { setMomentum } from "../step/step.js";
import type { ParamGroup } from "./param-group.js";
import type { Parameter } from "./parameter.js";

/** A group, and the layers that have its options. */
export interface LayerGroup {
  readonly group: ParamGroup;
  readonly layers: readonly Layer<Parameter>[];
}

/** What loading did in addition to copying. */
export interface LoadReport {
  /** Layers whose momentum was converted: "float32", "blockwise" (8 bits) or "none", from what was saved. */
  converted: { layer: string; from: string; to: string }[];
}

/** A copy of the state. */
export function readState(step: number, layers: readonly Layer<Parameter>[]): StateDict {
  return {
    step,
    layers: layers.map((layer) => ({
      name: layer.parameter.name ?? null,
      shape: [...layer.parameter.shape],
      step: layer.stepCount,
      momentum: layer.momentum === null ? null : copyOf(layer.momentum),
      gradientHistory: layer.gradientHistory?.slice() ?? null,
    })),
  };
}

function copyOf(momentum: Momentum): Momentum {
  return momentum.kind === "float32"
    ? { kind: "float32", values: unsharedCopy(momentum.values, Float32Array) }
    : {
        kind: "blockwise",
        codes: unsharedCopy(momentum.codes, Uint8Array),
        absmax: unsharedCopy(momentum.absmax, Float32Array),
      };
}

/** slice() of a view of shared memory would be ordinary too; this says so to the type checker. */
function unsharedCopy<A extends Float32Array | Uint8Array>(
  array: A,
  type: new (length: number) => A,
): A {
  const copy = new type(array.length);
  copy.set(array);
  return copy;
}

/**
 * Loads a state: checks everything, allocates all arrays, then puts them in place.
 *
 * @throws TypeError or RangeError that names the layer; then the layers are unchanged
 */
export function restoreState(
  saved: StateDict,
  groups: readonly LayerGroup[],
  kernel: Kernel,
): LoadReport {
  const pairs = matched(checkedState(saved).layers, groups);
  for (const { layer, state } of pairs) checkShape(layer, state);
  const histories = pairs.map(({ state }) => state.gradientHistory?.slice() ?? null);
  const momenta = makeMomenta(pairs, (pair) => loadedMomentum(pair, kernel), {
    kept: () => null,
    kernel,
  });
  pairs.forEach(({ layer, state }, index) => {
    setMomentum(layer, momenta[index]!, kernel);
    layer.stepCount = state.step;
    layer.gradientHistory = histories[index]!;
  });
  return { converted: pairs.flatMap((pair, index) => conversion(pair, momenta[index]!)) };
}

interface Pair {
  readonly layer: Layer<Parameter>;
  readonly group: ParamGroup;
  readonly state: LayerState;
}

/** Layers beside their saved states: by name when all have distinct names, else by position. */
function matched(states: readonly LayerState[], groups: readonly LayerGroup[]): Pair[] {
  const layers = groups.flatMap(({ group, layers: own }) => own.map((layer) => ({ layer, group })));
  if (states.length !== layers.length) {
    throw new RangeError(
      `state: expected ${String(layers.length)} layers, as the optimizer has, got ${String(states.length)} layers`,
    );
  }
  const byName = new Map(states.map((state) => [state.name, state]));
  const names = new Set(layers.map(({ layer }) => layer.parameter.name));
  const allNamed =
    byName.size === states.length &&
    names.size === layers.length &&
    !byName.has(null) &&
    !names.has(undefined);
  return layers.map(({ layer, group }, position) => {
    const state = allNamed ? byName.get(layer.label) : states[position];
    if (state !== undefined) return { layer, group, state };
    throw new RangeError(
      `layer ${shown(layer.label)}: expected a saved state with its name and shape ${shownShape(layer.parameter.shape)}, got ${listed(states)}`,
    );
  });
}

/** The saved layers as an error message shows them. */
function listed(states: readonly LayerState[]): string {
  const first = states
    .slice(0, MOST_LISTED)
    .map(({ name, shape }) => shown(name) + " " + shownShape(shape));
  return first.join(", ") + (states.length > MOST_LISTED ? ", …" : "");
}

const MOST_LISTED = 20;

function checkShape({ label, parameter }: Layer, { name, shape }: LayerState): void {
  if (shape.join() !== parameter.shape.join()) {
    throw new RangeError(
      `layer ${shown(label)}: expected a saved state of shape ${shownShape(parameter.shape)}, got ${name === null ? "one" : shown(name)} of shape ${shownShape(shape)}`,
    );
  }
}

/** A copy of the saved momentum in the kernel's memory, in the kind that the layer's options ask for. */
function loadedMomentum({ layer, group, state }: Pair, kernel: Kernel): Momentum | null {
  if (state.momentum === null) return null;
  const { parameter } = layer;
  const kind = wantedMomentum(group.hyperparameters(), parameter.size);
  const momentum = momentumAs(kind, null, parameter, kernel);
  const kept = kernel.partOf?.(state.momentum, parameter.data) ?? state.momentum;
  if (momentum !== null) copyMomentum(kept, momentum);
  return momentum;
}

function conversion({ layer, state }: Pair, momentum: Momentum | null): LoadReport["converted"] {
  const from = state.momentum?.kind ?? "none";
  const to = momentum?.kind ?? "none";
  return from === to ? [] : [{ layer: layer.label, from, to }];
}
