/** Trees of arrays (jax-js' `JsTree`), walked layer by layer: every leaf is a layer. */
import { tree } from "@jax-js/jax";
import type { JsTree, JsTreeDef, numpy as np } from "@jax-js/jax";
import { shown } from "../../check.js";

/** Arrays in lists and plain objects, nested at will. */
export type ArrayTree = JsTree<np.Array>;

/** What is known about a layer without reading it. Masks and the sizes of states depend on it. */
export class LayerShape {
  /** The path to the leaf, "dense/kernel" or "0/1"; "params" for a tree that is a single array. */
  readonly name: string;
  readonly shape: readonly number[];

  constructor(name: string, shape: readonly number[]) {
    this.name = name;
    this.shape = shape;
  }

  /** Number of dimensions. */
  get ndim(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, length) => product * length, 1);
  }

  /** The shape itself, so that masks written for arrays with reference counts work on shapes too. */
  get ref(): this {
    return this;
  }

  /** Does nothing: see {@link ref}. */
  dispose(): void {
    return;
  }
}

/** A tree taken apart. */
export interface FlatTree<Leaf> {
  readonly leaves: Leaf[];
  readonly structure: JsTreeDef;
}

/** @throws TypeError when a leaf is no array of jax-js, or there is none */
export function flattenArrays(what: string, arrays: ArrayTree): FlatTree<np.Array> {
  const [leaves, structure] = tree.flatten(arrays);
  checkSomeLeaf(what, leaves);
  const names = leafNames(structure);
  leaves.forEach((leaf: unknown, index) => {
    if (!isArray(leaf)) {
      throw new TypeError(
        `${what} ${shown(names[index])}: expected an array of jax-js, got ${shown(leaf)}`,
      );
    }
  });
  return { leaves, structure };
}

/** @throws TypeError for a tree without leaves */
export function checkSomeLeaf(what: string, leaves: readonly unknown[]): void {
  if (leaves.length > 0) return;
  throw new TypeError(`${what}: expected at least one array, got a tree without arrays`);
}

/**
 * An array, or what stands for one while `jit` traces. Not `instanceof`: a page may have two copies of
 * jax-js, and tracers are no `np.Array`.
 */
export function isArray(value: unknown): value is np.Array {
  return (
    typeof value === "object" &&
    value !== null &&
    "aval" in value &&
    "shape" in value &&
    "dtype" in value
  );
}

/** The names of a tree's leaves, in their order. */
export function leafNames(structure: JsTreeDef): string[] {
  return namesBelow(structure, []);
}

function namesBelow(structure: JsTreeDef, path: readonly string[]): string[] {
  if (isLeaf(structure)) return [path.length === 0 ? "params" : path.join("/")];
  return structure.childTreedefs.flatMap((child, index) =>
    namesBelow(child, [...path, keyOf(structure, index)]),
  );
}

/** The tree's layers, as shapes. Consumes nothing. */
export function layerShapes({ leaves, structure }: FlatTree<np.Array>): LayerShape[] {
  const names = leafNames(structure);
  return leaves.map(({ shape }, index) => new LayerShape(names[index]!, shape));
}

/**
 * What stands at the leaves of `structure` in a tree that goes deeper, or that ends earlier: a prefix
 * holds for everything below it, where `isPrefix` says that it is one.
 *
 * @throws TypeError when the tree has another structure
 */
export function subtreesAt(
  what: string,
  structure: JsTreeDef,
  value: unknown,
  isPrefix: (value: unknown) => boolean = () => false,
): unknown[] {
  if (isLeaf(structure)) return [value];
  if (isPrefix(value)) return Array.from({ length: structure.size }, () => value);
  const keys = structure.childTreedefs.map((_, index) => keyOf(structure, index));
  const children = typeof value === "object" && value !== null ? Object.keys(value) : [];
  const isList = Array.isArray(value);
  if (
    isList !== ((structure.nodeType as string) === "Array") ||
    children.length !== keys.length ||
    !keys.every((key) => children.includes(key))
  ) {
    throw new TypeError(
      `${what}: expected the structure of the parameters, [${keys.join(", ")}], got ${shown(value)} with [${children.join(", ")}]`,
    );
  }
  return structure.childTreedefs.flatMap((child, index) =>
    subtreesAt(what, child, (value as Record<string, unknown>)[keys[index]!], isPrefix),
  );
}

/** The inverse of {@link subtreesAt}: a tree with these subtrees where `structure` has leaves. */
export function unflattened(structure: JsTreeDef, subtrees: readonly ArrayTree[]): ArrayTree {
  // To its type a leaf is an array; it copies subtrees as well.
  return tree.unflatten(structure, subtrees as readonly np.Array[]);
}

/** A tree with the keys of its objects in the order that they have in another tree of the same structure. */
export function inOrderOf<Tree extends ArrayTree>(pattern: ArrayTree, value: Tree): Tree {
  if (isArray(pattern) || isArray(value)) return value;
  if (Array.isArray(pattern) && Array.isArray(value)) {
    return value.map((each, index) => inOrderOf(pattern[index]!, each)) as ArrayTree as Tree;
  }
  const [first, second] = [pattern, value] as Record<string, ArrayTree>[];
  const keys = Object.keys(first!);
  return Object.fromEntries(
    keys.map((key) => [key, inOrderOf(first![key]!, second![key]!)]),
  ) as ArrayTree as Tree;
}

/** The key of a child of a list or an object. */
function keyOf(structure: JsTreeDef, index: number): string {
  const keys: unknown = structure.nodeMetadata;
  return Array.isArray(keys) ? String(keys[index]) : String(index);
}

function isLeaf(structure: JsTreeDef): boolean {
  // The enum of node types is a type of jax-js only: its values are these strings.
  return (structure.nodeType as string) === "Leaf";
}
