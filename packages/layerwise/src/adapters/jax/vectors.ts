/**
 * Scalars of many layers as one vector: `jit` makes a kernel for each scalar that is kept, and starting it takes longer
 * than deciding hundreds of them at once.
 */
import { numpy as np } from "@jax-js/jax";
import { computedOnce } from "./compiled.js";

/** As many arrays as jax-js joins by one kernel with eight buffers, the fewest that WebGPU promises. */
const JOINED = 7;

/** The elements of arrays one after the other. Consumes them. */
export function joined(arrays: readonly np.Array[]): np.Array {
  let parts = arrays.map((each) => each.flatten());
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
 * @param factors [layers], or one for all
 */
export function scaled(arrays: readonly np.Array[], factors: np.Array): np.Array[] {
  const once = computedOnce(factors);
  const products = arrays.map((values, index) =>
    values.mul(once.ndim === 0 ? once.ref : once.ref.slice(index)),
  );
  once.dispose();
  return products;
}

/** Lists of the items that have the same key, each with the positions of its items. */
export function grouped<Item>(
  items: readonly Item[],
  keyOf: (item: Item) => string,
): { readonly items: Item[]; readonly positions: number[] }[] {
  const groups = new Map<string, { items: Item[]; positions: number[] }>();
  items.forEach((item, position) => {
    const key = keyOf(item);
    const group = groups.get(key) ?? { items: [], positions: [] };
    group.items.push(item);
    group.positions.push(position);
    groups.set(key, group);
  });
  return [...groups.values()];
}
