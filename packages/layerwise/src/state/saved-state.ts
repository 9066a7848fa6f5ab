/** An optimizer's state outside of it, and the checks of state from outside. */
import {
  checkArray,
  checkFinite,
  checkInteger,
  checkNonNegatives,
  checkObject,
  checkShape,
  checkText,
  refusal,
  shown,
} from "../check.js";
import { HISTORY_LENGTH } from "../decide/percentile-clipping.js";
import { checkedBlocks } from "./blockwise.js";
import type { Momentum } from "./momentum.js";

/** The saved state of one layer. */
export interface LayerState {
  /** null when the parameter has none. */
  name: string | null;
  shape: number[];
  /** Steps that the layer made. */
  step: number;
  /** null before the first step or without momentum. */
  momentum: Momentum | null;
  /** The last 100 squared gradient norms, or null if percentile clipping was never on. */
  gradientHistory: Float64Array | null;
}

/** The saved state of an optimizer: its layers in the order of its groups. */
export interface StateDict {
  /** Steps made. */
  step: number;
  layers: LayerState[];
}

/**
 * A state from outside, with every field checked: it throws for anything that no run of an optimizer produces.
 *
 * @throws TypeError or RangeError that names the field and its layer, what was expected and the value
 */
export function checkedState(saved: unknown): StateDict {
  const { step, layers } = checkObject("state", saved);
  if (!Array.isArray(layers)) throw new TypeError(refusal("state: layers", layers, "an array"));
  return {
    step: checkCount("state: step", step),
    // Array.from also visits the holes of a sparse array.
    layers: Array.from(layers as unknown[], (layer, index) =>
      checkedLayer(`state: layers[${String(index)}]`, layer),
    ),
  };
}

function checkCount(what: string, value: unknown): number {
  return checkInteger(what, value, 0, Number.MAX_SAFE_INTEGER);
}

function checkedLayer(place: string, value: unknown): LayerState {
  const layer = checkObject(place, value);
  const { name, shape, momentum, gradientHistory } = layer;
  if (name !== null && typeof name !== "string") {
    throw new TypeError(refusal(`${place}.name`, name, "a string or null"));
  }
  if (name !== null) checkText(`${place}.name`, name);
  const what = name === null ? place : `${place} (${shown(name)})`;
  const size = checkShape(`${what}.shape`, shape, { least: 1 });
  return {
    name,
    shape: [...(shape as number[])],
    step: checkCount(`${what}.step`, layer.step),
    momentum: momentum === null ? null : checkedMomentum(`${what}.momentum`, momentum, size),
    gradientHistory:
      gradientHistory === null ? null : checkedHistory(`${what}.gradientHistory`, gradientHistory),
  };
}

/** Squared norms. */
function checkedHistory(what: string, value: unknown): Float64Array {
  return checkNonNegatives(what, checkArray(what, value, Float64Array, HISTORY_LENGTH));
}

function checkedMomentum(what: string, value: unknown, size: number): Momentum {
  const { kind, values, codes, absmax } = checkObject(what, value);
  switch (kind) {
    case "float32":
      return {
        kind,
        values: checkFinite(
          `${what}.values`,
          checkArray(`${what}.values`, values, Float32Array, size),
        ),
      };
    case "blockwise":
      return { kind, ...checkedBlocks(what, { codes, absmax }, size) };
    default:
      throw new RangeError(refusal(`${what}.kind`, kind, '"float32" or "blockwise"'));
  }
}
