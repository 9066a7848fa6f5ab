/** State in and out of an optimizer: plain objects of typed arrays and numbers. */
import { shown } from "../check.js";
import type { Kernel, Momentum } from "../kernels/kernel.js";
import { checkedState } from "../state/saved-state.js";
import type { LayerState, StateDict } from "../state/saved-state.js";
import { momentumArrays, momentumAs, wantedMomentum } from "../step/layer.js";
import type { Layer } from "../step/layer.js";

/** What loading did beside copying. */
export interface LoadReport {
  /** Layers whose momentum was converted: "float32", "blockwise" (8 bits) or "none", from what was saved. */
  converted: { layer: string; from: string; to: string }[];
}

/** A copy of the state. */
export function readState(step: number, layers: readonly Layer[]): StateDict {
  return {
    step,
    layers: layers.map(({ parameter, stepCount, momentum, gradientHistory }) => ({
      name: parameter.name ?? null,
      shape: [...parameter.shape],
      step: stepCount,
      momentum: momentum === null ? null : copyOf(momentum),
      gradientHistory: gradientHistory?.slice() ?? null,
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
 * Loads a state: checks all of it, makes all arrays, then puts them in place.
 *
 * @throws TypeError or RangeError that names the layer; the layers are then as they were
 */
export function restoreState(
  saved: StateDict,
  layers: readonly Layer[],
  kernel: Kernel,
): LoadReport {
  const pairs = matched(checkedState(saved).layers, layers);
  for (const { layer, state } of pairs) checkShape(layer, state);
  const loaded = pairs.map(({ layer, state }) => ({
    layer,
    state,
    momentum: loadedMomentum(layer, state, kernel),
  }));
  for (const { layer, state, momentum } of loaded) {
    if (layer.momentum !== null) kernel.releaseMomentum(layer.momentum);
    layer.momentum = momentum;
    layer.stepCount = state.step;
    layer.gradientHistory = state.gradientHistory?.slice() ?? null;
  }
  return { converted: loaded.flatMap(conversion) };
}

interface Pair {
  layer: Layer;
  state: LayerState;
}

/** Layers beside their saved states: by name when all have distinct names, else by position. */
function matched(states: readonly LayerState[], layers: readonly Layer[]): Pair[] {
  if (states.length !== layers.length) {
    throw new RangeError(
      `state: has ${String(states.length)} layers; allowed is ${String(layers.length)}, as the optimizer has`,
    );
  }
  const byName = new Map(states.map((state) => [state.name, state]));
  const names = new Set(layers.map(({ parameter }) => parameter.name));
  const allNamed =
    byName.size === states.length &&
    names.size === layers.length &&
    !byName.has(null) &&
    !names.has(undefined);
  return layers.map((layer, position) => {
    const state = allNamed ? byName.get(layer.label) : states[position];
    if (state !== undefined) return { layer, state };
    throw new RangeError(
      `layer ${shown(layer.label)} with shape [${layer.parameter.shape.join(", ")}] is not in the saved state; it has ${states.map(({ name, shape }) => `${shown(name)} [${shape.join(", ")}]`).join(", ")}`,
    );
  });
}

function checkShape({ label, parameter }: Layer, { name, shape }: LayerState): void {
  if (shape.join() !== parameter.shape.join()) {
    throw new RangeError(
      `layer ${shown(label)} has shape [${parameter.shape.join(", ")}], its saved state${name === null ? "" : ` ${shown(name)}`} has shape [${shape.join(", ")}]`,
    );
  }
}

/** A copy of the saved momentum in the kernel's memory, in the kind that the layer's options ask for. */
function loadedMomentum(layer: Layer, { momentum }: LayerState, kernel: Kernel): Momentum | null {
  const { parameter } = layer;
  const kind = wantedMomentum(layer.group.hyperparameters(), parameter.size);
  if (momentum === null) return null;
  const loaded = momentumAs(kind, momentum, parameter, kernel);
  if (loaded !== momentum) return loaded;
  const copy = momentumAs(kind, null, parameter, kernel);
  const sources = momentumArrays(momentum);
  momentumArrays(copy).forEach((target, index) => {
    target.set(sources[index] ?? []);
  });
  return copy;
}

function conversion({
  layer,
  state,
  momentum,
}: Pair & { momentum: Momentum | null }): LoadReport["converted"] {
  const from = state.momentum?.kind ?? "none";
  const to = momentum?.kind ?? "none";
  return from === to ? [] : [{ layer: layer.label, from, to }];
}
