/** What an optimizer's state looks like outside of it, and the checks that anything from outside passes. */
import { checkInteger, checkObject, shown } from "../check.js";
import { HISTORY_LENGTH } from "../decide/percentile-clipping.js";
import { blockCount } from "./blockwise.js";
import type { Momentum } from "./momentum.js";

/** The saved state of one layer. */
export interface LayerState {
  /** null when the parameter has none. */
  name: string | null;
  shape: number[];
  /** Steps that the layer has made. */
  step: number;
  /** null before the first step, and without momentum. */
  momentum: Momentum | null;
  /** The last 100 squared gradient norms, or null when percentile clipping was never on. */
  gradientHistory: Float64Array | null;
}

/** The saved state of an optimizer: its layers in the order of its groups. */
export interface StateDict {
  /** Steps made. */
  step: number;
  layers: LayerState[];
}

/**
 * A state from outside, with every field checked.
 *
 * @throws TypeError or RangeError that names the field, the value and what is allowed
 */
export function checkedState(saved: unknown): StateDict {
  const { step, layers } = checkObject("state", saved);
  if (!Array.isArray(layers)) {
    throw new TypeError(`state: layers: got ${shown(layers)}; allowed is an array`);
  }
  return {
    step: checkInteger("state: step", step, 0),
    layers: layers.map((layer: unknown, index) =>
      checkedLayer(`state: layers[${String(index)}]`, layer),
    ),
  };
}

function checkedLayer(what: string, value: unknown): LayerState {
  const layer = checkObject(what, value);
  const { name, shape, momentum, gradientHistory } = layer;
  if (name !== null && typeof name !== "string") {
    throw new TypeError(`${what}.name: got ${shown(name)}; allowed is a string or null`);
  }
  if (!Array.isArray(shape)) {
    throw new TypeError(`${what}.shape: got ${shown(shape)}; allowed is an array of sizes`);
  }
  const size = shape.reduce<number>(
    (product, length: unknown) => product * checkInteger(`${what}.shape`, length, 1),
    1,
  );
  checkInteger(`${what}.step`, layer.step, 0);
  if (momentum !== null) checkMomentum(`${what} (${shown(name)}): momentum`, momentum, size);
  if (gradientHistory !== null) {
    checkArray(`${what}.gradientHistory`, gradientHistory, Float64Array, HISTORY_LENGTH);
  }
  return layer as unknown as LayerState;
}

function checkMomentum(what: string, value: unknown, size: number): void {
  const momentum = checkObject(what, value);
  switch (momentum.kind) {
    case "float32":
      checkArray(`${what}.values`, momentum.values, Float32Array, size);
      return;
    case "blockwise":
      checkArray(`${what}.codes`, momentum.codes, Uint8Array, size);
      checkArray(`${what}.absmax`, momentum.absmax, Float32Array, blockCount(size));
      return;
    default:
      throw new RangeError(
        `${what}.kind: got ${shown(momentum.kind)}; allowed is "float32" or "blockwise"`,
      );
  }
}

type NumberArray = Float32Array | Float64Array | Uint8Array;

function checkArray(
  what: string,
  value: unknown,
  type: new (length: number) => NumberArray,
  length: number,
): void {
  if (!(value instanceof type) || value.length !== length) {
    const got = value instanceof type ? `${String(value.length)} elements` : shown(value);
    throw new RangeError(`${what}: got ${got}; allowed is a ${type.name} of ${String(length)}`);
  }
}
