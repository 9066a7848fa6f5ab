/** Optimizer state as named tensors, which is what models are saved with. There is no uint8: codes are packed. */
import { shown } from "../../check.js";
import { HISTORY_LENGTH } from "../../decide/percentile-clipping.js";
import { blockCount } from "../../state/blockwise.js";
import type { Momentum } from "../../state/momentum.js";
import type { LayerState } from "../../state/saved-state.js";
import type { NamedTensor, Tensor, TensorData, TensorFlow } from "./tensorflow.js";

/** TensorFlow.js' own name for the number of iterations. */
const ITERATIONS = "iter";

/** State as it was saved, before it is known which variable it belongs to. */
export interface SavedLayer {
  readonly name: string;
  readonly step: number;
  readonly momentum: Float32Array | null;
  /** Four codes an int32, the first in the lowest byte. */
  readonly codes: Int32Array | null;
  readonly absmax: Float32Array | null;
  /** Float64 numbers, two int32 each. */
  readonly history: Int32Array | null;
}

export interface SavedWeights {
  readonly iterations: number;
  readonly layers: readonly SavedLayer[];
}

type Part = "lars_step" | "lars_momentum" | "lars_codes" | "lars_absmax" | "lars_history";

/**
 * Makes the tensors; the caller disposes of them.
 *
 * @returns `iter`, and for each variable `<name>/lars_step` (int32 scalar) with `lars_momentum` (float32, the
 *   variable's shape) or `lars_codes` (int32, four codes each) and `lars_absmax` (float32, one a block), and
 *   `lars_history` (int32 [200], 100 float64) after percentile clipping
 */
export function toTensors(
  tf: TensorFlow,
  iterations: number,
  layers: readonly (LayerState | SavedLayer)[],
): NamedTensor[] {
  const named: NamedTensor[] = [{ name: ITERATIONS, tensor: tf.scalar(iterations, "int32") }];
  for (const layer of layers) {
    const { name, step, momentum, codes, absmax, history } =
      "shape" in layer ? savedLayer(layer) : layer;
    const shape = "shape" in layer ? layer.shape : undefined;
    const add = (part: Part, tensor: Tensor): void => {
      named.push({ name: `${name}/${part}`, tensor });
    };
    add("lars_step", tf.scalar(step, "int32"));
    if (momentum !== null) {
      add("lars_momentum", tf.tensor(momentum, shape ?? [momentum.length], "float32"));
    }
    if (codes !== null) add("lars_codes", tf.tensor(codes, [codes.length], "int32"));
    if (absmax !== null) add("lars_absmax", tf.tensor(absmax, [absmax.length], "float32"));
    if (history !== null) add("lars_history", tf.tensor(history, [history.length], "int32"));
  }
  return named;
}

function savedLayer({ name, step, momentum, gradientHistory }: LayerState): SavedLayer {
  return {
    name: name ?? "",
    step,
    momentum: momentum?.kind === "float32" ? momentum.values : null,
    codes: momentum?.kind === "blockwise" ? packed(momentum.codes) : null,
    absmax: momentum?.kind === "blockwise" ? momentum.absmax : null,
    history: gradientHistory === null ? null : new Int32Array(gradientHistory.slice().buffer),
  };
}

function packed(codes: Uint8Array): Int32Array {
  const bytes = new Uint8Array(Math.ceil(codes.length / 4) * 4);
  bytes.set(codes);
  return new Int32Array(bytes.buffer);
}

/**
 * Reads what {@link toTensors} made, copying.
 *
 * @throws TypeError that names the tensor when it is not of an optimizer of this adapter
 */
export async function fromTensors(weights: readonly NamedTensor[]): Promise<SavedWeights> {
  let iterations = 0;
  const layers = new Map<string, { -readonly [Key in keyof SavedLayer]: SavedLayer[Key] }>();
  for (const { name, tensor } of weights) {
    const values = await tensor.data();
    if (name === ITERATIONS) {
      iterations = values[0] ?? 0;
      continue;
    }
    const end = name.lastIndexOf("/");
    const layer = name.slice(0, end);
    const saved = layers.get(layer) ?? {
      name: layer,
      step: 0,
      momentum: null,
      codes: null,
      absmax: null,
      history: null,
    };
    layers.set(layer, saved);
    const part = name.slice(end + 1) as Part;
    switch (part) {
      case "lars_step":
        saved.step = values[0] ?? 0;
        break;
      case "lars_momentum":
        saved.momentum = copyAs(Float32Array, name, values);
        break;
      case "lars_codes":
        saved.codes = copyAs(Int32Array, name, values);
        break;
      case "lars_absmax":
        saved.absmax = copyAs(Float32Array, name, values);
        break;
      case "lars_history":
        saved.history = copyAs(Int32Array, name, values);
        break;
      default:
        throw new TypeError(
          `weights: got ${shown(name)}; allowed are iter, and variables' lars_step, lars_momentum, lars_codes, lars_absmax and lars_history`,
        );
    }
  }
  return { iterations, layers: [...layers.values()] };
}

function copyAs<A extends Float32Array | Int32Array>(
  type: { new (values: ArrayLike<number>): A; readonly name: string },
  name: string,
  values: TensorData,
): A {
  if (values instanceof type) return new type(values);
  throw new TypeError(`weights: ${name}: got ${shown(values)}; allowed is a ${type.name}`);
}

/**
 * A saved layer as the state of a variable.
 *
 * @throws RangeError that names both when the numbers of elements differ
 */
export function layerStateOf(
  saved: SavedLayer,
  variable: { readonly name: string; readonly shape: readonly number[]; readonly size: number },
): LayerState {
  return {
    name: variable.name,
    shape: [...variable.shape],
    step: saved.step,
    momentum: momentumOf(saved, variable),
    gradientHistory: historyOf(saved),
  };
}

function momentumOf(
  { name, momentum, codes, absmax }: SavedLayer,
  variable: { readonly name: string; readonly size: number },
): Momentum | null {
  const { size } = variable;
  const check = (what: string, actual: number, expected: number): void => {
    if (actual === expected) return;
    throw new RangeError(
      `variable ${shown(variable.name)}: the saved ${what} of ${shown(name)} has ${String(actual)} elements; allowed is ${String(expected)}`,
    );
  };
  if (momentum !== null) {
    check("momentum", momentum.length, size);
    return { kind: "float32", values: momentum };
  }
  if (codes === null || absmax === null) return null;
  check("codes", codes.length, Math.ceil(size / 4));
  check("absmax", absmax.length, blockCount(size));
  return { kind: "blockwise", codes: new Uint8Array(codes.buffer, 0, size).slice(), absmax };
}

function historyOf({ history }: SavedLayer): Float64Array | null {
  if (history === null) return null;
  if (history.length === 2 * HISTORY_LENGTH) return new Float64Array(history.slice().buffer);
  throw new RangeError(
    `lars_history: got ${String(history.length)} elements; allowed is ${String(2 * HISTORY_LENGTH)}`,
  );
}
