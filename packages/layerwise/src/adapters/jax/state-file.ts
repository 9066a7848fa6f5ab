/** States, and any other trees of arrays, as safetensors: a tensor for each leaf, named by its path. */
import { numpy as np, tree } from "@jax-js/jax";
import { shown } from "../../check.js";
import { decodeSafetensors, encodeSafetensors } from "../../state/safetensors.js";
import type { Tensor, TensorData } from "../../state/safetensors.js";
import { flattenArrays, leafNames } from "./trees.js";
import type { ArrayTree } from "./trees.js";

/** Says in the metadata what the file is. */
const FORMAT = "layerwise.jax";
const VERSION = "1";

/** The types of arrays that states have. */
const types = { float32: Float32Array, int32: Int32Array, uint32: Uint32Array } as const;

type StateType = keyof typeof types;

/** What a leaf must be. */
interface Leaf {
  readonly name: string;
  readonly dtype: StateType;
  readonly shape: readonly number[];
}

/**
 * Writes a state as safetensors, readable by Python's `safetensors`. It takes any tree of arrays, so parameters can go
 * into the same file:
 *
 *     const bytes = await encodeState(tree.ref({ params, state }));
 *     ({ params, state } = decodeState({ params, state: optimizer.init(tree.ref(params)) }, bytes));
 *
 * A tensor's name is the path to its leaf: `state/layers/dense/kernel/momentum`. A U32 holds four 8-bit codes.
 *
 * @param state consumed
 * @throws TypeError for types other than float32, int32 and uint32; RangeError for two leaves with one name, and for NaN
 *   and ±Infinity
 */
export async function encodeState(state: ArrayTree): Promise<Uint8Array<ArrayBuffer>> {
  const { leaves, names } = namedLeaves("encodeState", state);
  const described = leaves.map((array, index) => leafOf("encodeState", names[index]!, array));
  // All at once: a device is waited for once.
  const data = await Promise.all(leaves.map(async (array) => (await array.data()) as TensorData));
  const tensors = described.map(({ name, shape }, index): [string, Tensor] => {
    const values = data[index]!;
    checkValues(`encodeState: ${shown(name)}`, name, values);
    return [name, { shape, data: values }];
  });
  return encodeSafetensors({
    tensors: new Map(tensors),
    metadata: { format: FORMAT, version: VERSION },
  });
}

/**
 * Reads what {@link encodeState} wrote.
 *
 * @param like a tree with the structure, types and shapes of the written one: what `init` returns with the same
 *   options. Consumed
 * @param bytes of the file
 * @returns the arrays of the file in the structure of `like`, on the default device
 * @throws TypeError or RangeError that names the first tensor that is missing, of another type or shape, or that `like` does
 *   not have; and for NaN, ±Infinity and a negative absmax
 */
export function decodeState<Tree extends ArrayTree>(like: Tree, bytes: Uint8Array): Tree {
  const { leaves, names, structure } = namedLeaves("decodeState: like", like);
  const expected = leaves.map((array, index) => leafOf("decodeState: like", names[index]!, array));
  for (const each of leaves) each.dispose();
  const { tensors, metadata } = decodeSafetensors(bytes);
  checkMetadata(metadata);
  const arrays = expected.map((leaf) => takenTensor(leaf, tensors));
  const extra = [...tensors.keys()].find((name) => !names.includes(name));
  if (extra !== undefined) {
    throw new RangeError(
      `decodeState: tensor ${shown(extra)}: expected no tensor of this name, got one: the state belongs to other options or layers`,
    );
  }
  // Made when all is checked, so that a refusal leaves nothing behind.
  return tree.unflatten(structure, arrays.map(arrayOf)) as Tree;
}

/** The leaves of a tree with names of their own. */
function namedLeaves(what: string, arrays: ArrayTree) {
  const { leaves, structure } = flattenArrays(what, arrays);
  const names = leafNames(structure);
  const double = names.find((name, index) => names.indexOf(name) !== index);
  if (double !== undefined) {
    throw new RangeError(`${what}: expected a name for each leaf, got ${shown(double)} twice`);
  }
  return { leaves, names, structure };
}

function leafOf(what: string, name: string, { dtype, shape }: np.Array): Leaf {
  if (Object.hasOwn(types, dtype)) return { name, dtype: dtype as StateType, shape };
  throw new TypeError(
    `${what}: ${shown(name)}: expected ${Object.keys(types).join(", ")}, got ${dtype}`,
  );
}

function checkMetadata({ format, version }: Readonly<Record<string, string>>): void {
  if (format === FORMAT && version === VERSION) return;
  throw new RangeError(
    `decodeState: expected format ${shown(FORMAT)}, version ${shown(VERSION)}, got ${shown(format)}, ${shown(version)}`,
  );
}

/** The tensor of a leaf, checked. */
function takenTensor({ name, dtype, shape }: Leaf, tensors: ReadonlyMap<string, Tensor>): Tensor {
  const what = `decodeState: tensor ${shown(name)}`;
  const wanted = `${dtype} [${shape.join(", ")}]`;
  const tensor = tensors.get(name);
  if (tensor === undefined) {
    throw new RangeError(
      `${what}: expected ${wanted}, got none: the state belongs to other options or layers`,
    );
  }
  if (!(tensor.data instanceof types[dtype]) || tensor.shape.join() !== shape.join()) {
    const type = Object.entries(types).find(
      ([, constructor]) => tensor.data instanceof constructor,
    );
    throw new RangeError(
      `${what}: expected ${wanted}, got ${type?.[0] ?? tensor.data.constructor.name} [${tensor.shape.join(", ")}]`,
    );
  }
  checkValues(what, name, tensor.data);
  return tensor;
}

/** What can't be right is neither written nor read. */
function checkValues(what: string, name: string, values: TensorData): void {
  const isAbsmax = name === "absmax" || name.endsWith("/absmax");
  const index = values.findIndex((value) => !Number.isFinite(value) || (isAbsmax && value < 0));
  if (index < 0) return;
  throw new RangeError(
    `${what}: expected ${isAbsmax ? "numbers ≥ 0" : "finite numbers"}, got ${String(values[index])} at ${String(index)}`,
  );
}

function arrayOf({ data, shape }: Tensor): np.Array {
  // Each of its types is one that jax-js takes; checked above.
  return np.array(data).reshape([...shape]);
}
