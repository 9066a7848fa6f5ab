/** Optimizer state as named tensors, which is what models are saved with. There is no uint8: codes are packed. */
import { checkInteger, shown } from "../../check.js";
import type { Momentum } from "../../state/momentum.js";
import { checkedState } from "../../state/saved-state.js";
import type { LayerState, StateDict } from "../../state/saved-state.js";
import type { NamedTensor, Tensor, TensorData, TensorFlow } from "./tensorflow.js";

/** TensorFlow.js' own name for the number of iterations. */
const ITERATIONS = "iter";

const PARTS = [
  ...["lars_step", "lars_shape", "lars_momentum"],
  ...["lars_codes", "lars_absmax", "lars_history"],
] as const;

type Part = (typeof PARTS)[number];

/**
 * Makes the tensors; the caller disposes of them.
 *
 * @returns `iter`, and for each variable `<name>/lars_step` (int32 scalar) with `lars_momentum` (float32, the
 *   variable's shape), or `lars_codes` (int32, four codes each, the first in the lowest byte), `lars_absmax` (float32,
 *   one a block) and `lars_shape` (int32, the variable's shape), which stands alone without momentum; and `lars_history`
 *   (int32 [200], 100 float64) after percentile clipping
 */
export function toTensors(tf: TensorFlow, { step, layers }: StateDict): NamedTensor[] {
  const named: NamedTensor[] = [{ name: ITERATIONS, tensor: tf.scalar(step, "int32") }];
  for (const { name, step, shape, momentum, gradientHistory } of layers) {
    const add = (part: Part, tensor: Tensor): void => {
      named.push({ name: `${name ?? ""}/${part}`, tensor });
    };
    const addIntegers = (part: Part, values: Int32Array): void => {
      add(part, tf.tensor(values, [values.length], "int32"));
    };
    add("lars_step", tf.scalar(step, "int32"));
    if (momentum?.kind === "float32") {
      add("lars_momentum", tf.tensor(momentum.values, shape, "float32"));
    } else {
      addIntegers("lars_shape", Int32Array.from(shape));
    }
    if (momentum?.kind === "blockwise") {
      const { codes, absmax } = momentum;
      addIntegers("lars_codes", packed(codes));
      add("lars_absmax", tf.tensor(absmax, [absmax.length], "float32"));
    }
    if (gradientHistory !== null) {
      addIntegers("lars_history", new Int32Array(gradientHistory.slice().buffer));
    }
  }
  return named;
}

function packed(codes: Uint8Array): Int32Array {
  const bytes = new Uint8Array(Math.ceil(codes.length / 4) * 4);
  bytes.set(codes);
  return new Int32Array(bytes.buffer);
}

/** A saved tensor. */
interface Saved {
  readonly name: string;
  readonly values: TensorData;
  readonly shape: readonly number[];
}

/** What was saved of one variable. */
type SavedParts = Partial<Record<Part, Saved>>;

/**
 * Reads what {@link toTensors} made, copying.
 *
 * @throws TypeError or RangeError that names the tensor or the variable when it can't be right
 */
export async function fromTensors(weights: readonly NamedTensor[]): Promise<StateDict> {
  const all = await Promise.all(
    weights.map(async ({ name, tensor }): Promise<Saved> => {
      // Arrays that are shared with others stay as they are now.
      return { name, shape: [...tensor.shape], values: (await tensor.data()).slice() };
    }),
  );
  let step = 0;
  const variables = new Map<string, SavedParts>();
  for (const saved of all) {
    const { name, values } = saved;
    if (name === ITERATIONS) {
      step = checkInteger(`weights: ${ITERATIONS}`, values[0], 0);
      continue;
    }
    const end = name.lastIndexOf("/");
    const part = PARTS.find((known) => known === name.slice(end + 1));
    if (part === undefined) {
      throw new TypeError(
        `weights: expected ${ITERATIONS}, and variables' ${PARTS.join(", ")}, got ${shown(name)}`,
      );
    }
    const variable = name.slice(0, end);
    const parts = variables.get(variable) ?? {};
    if (parts[part] !== undefined) {
      throw new TypeError(`weights: expected each name once, got ${shown(name)} twice`);
    }
    parts[part] = saved;
    variables.set(variable, parts);
  }
  const layers = [...variables].map(([name, parts]) => layerOf(name, parts));
  return checkedState({ step, layers });
}

function layerOf(name: string, parts: SavedParts): LayerState {
  const step = typed(Int32Array, required(name, "lars_step", parts.lars_step));
  const history = parts.lars_history;
  return {
    name,
    shape: shapeOf(name, parts),
    step: checkInteger(`weights: ${shown(`${name}/lars_step`)}`, step[0], 0),
    momentum: momentumOf(name, parts),
    gradientHistory:
      history === undefined ? null : new Float64Array(evenly(Int32Array, history).buffer),
  };
}

function required(variable: string, part: Part, saved: Saved | undefined): Saved {
  if (saved !== undefined) return saved;
  throw new TypeError(`weights: expected ${shown(`${variable}/${part}`)}, got none`);
}

function shapeOf(
  name: string,
  { lars_momentum: momentum, lars_shape: shape }: SavedParts,
): number[] {
  if (momentum !== undefined) return [...momentum.shape];
  return [...typed(Int32Array, required(name, "lars_shape", shape))];
}

function momentumOf(
  name: string,
  {
    lars_momentum: momentum,
    lars_shape: shape,
    lars_codes: codes,
    lars_absmax: absmax,
  }: SavedParts,
): Momentum | null {
  if (momentum !== undefined) return { kind: "float32", values: typed(Float32Array, momentum) };
  if (codes === undefined && absmax === undefined) return null;
  const numbers = typed(Int32Array, required(name, "lars_codes", codes));
  const blocks = typed(Float32Array, required(name, "lars_absmax", absmax));
  const size = sizeOf(typed(Int32Array, required(name, "lars_shape", shape)));
  const expected = Math.ceil(size / 4);
  if (numbers.length !== expected) {
    throw new RangeError(
      `weights: ${shown(`${name}/lars_codes`)}: expected ${String(expected)} elements, got ${String(numbers.length)}`,
    );
  }
  return {
    kind: "blockwise",
    codes: new Uint8Array(numbers.buffer, 0, size).slice(),
    absmax: blocks,
  };
}

function sizeOf(shape: Int32Array): number {
  return shape.reduce((product, length) => product * length, 1);
}

type Numbers = Float32Array | Int32Array;

function typed<A extends Numbers>(
  type: { new (values: ArrayLike<number>): A; readonly name: string },
  { name, values }: Saved,
): A {
  if (values instanceof type) return values;
  throw new TypeError(`weights: ${shown(name)}: expected a ${type.name}, got ${shown(values)}`);
}

/** Pairs of numbers. */
function evenly(type: Int32ArrayConstructor, saved: Saved): Int32Array {
  const numbers = typed(type, saved);
  if (numbers.length % 2 === 0) return numbers;
  throw new RangeError(
    `weights: ${shown(saved.name)}: expected an even number of elements, got ${String(numbers.length)}`,
  );
}
