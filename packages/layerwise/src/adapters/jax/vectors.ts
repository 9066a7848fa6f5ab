/** Scalars of many layers as one vector. */
import { numpy as np } from "@jax-js/jax";
import { computedOnce, isDecidedTogether, isSmall } from "./compiled.js";

/** As many arrays as jax-js joins by one kernel with eight buffers, the fewest that WebGPU promises. */
const JOINED = 7;

/**
 * Arrays one after the other along their first axis; scalars as a vector. One array stays as it is: another view of it
 * that many kernels read would be a copy.
 *
 * @param arrays consumed
 */
export function joined(arrays: readonly np.Array[]): np.Array {
  if (arrays.length === 1) return arrays[0]!;
  let parts = arrays.map((each) => (each.ndim === 0 ? each.reshape([1]) : each));
  while (parts.length > 1) {
    const runs = Array.from({ length: Math.ceil(parts.length / JOINED) }, (_, index) =>
      parts.slice(index * JOINED, (index + 1) * JOINED),
    );
    parts = runs.map((run) => (run.length === 1 ? run[0]! : np.concatenate(run)));
  }
  return parts[0]!;
}

/**
 * Arrays of layers times the factors of their layers. Consumes both.
 *
 * @param factors [layers], or a scalar for all
 */
export function scaled(arrays: readonly np.Array[], factors: np.Array): np.Array[] {
  // Of one small layer it is computed for each element: that takes less than a kernel more.
  const once = arrays.length === 1 && isSmall(arrays[0]!) ? factors : computedOnce(factors);
  const products = arrays.map((values, index) =>
    values.mul(once.ndim === 0 ? once.ref : once.ref.slice(index)),
  );
  once.dispose();
  return products;
}

/**
 * What is decided together ({@link isDecidedTogether}): lists of the items that have the same key, each with the positions
 * of its items. Where nothing is, every item is by itself.
 */
export function grouped<Item>(
  items: readonly Item[],
  keyOf: (item: Item) => string,
): { readonly items: Item[]; readonly positions: number[] }[] {
  const groups = new Map<string, { items: Item[]; positions: number[] }>();
  items.forEach((item, position) => {
    const key = isDecidedTogether() ? keyOf(item) : String(position);
    const group = groups.get(key) ?? { items: [], positions: [] };
    group.items.push(item);
    group.positions.push(position);
    groups.set(key, group);
  });
  return [...groups.values()];
}
