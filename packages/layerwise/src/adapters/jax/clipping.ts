/** Clipping by percentile as a transformation of its own. */
import { numpy as np } from "@jax-js/jax";
import { checkInteger, shown } from "../../check.js";
import { HISTORY_LENGTH, PERCENTILE_OFF } from "../../decide/percentile-clipping.js";
import { isSmall } from "./compiled.js";
import { clipToPercentile } from "./decide.js";
import { normsOf } from "./norms.js";
import { int32 } from "./scalars.js";
import { checkCount, checkFields, checkHistory } from "./states.js";
import { overTrees } from "./transformation.js";
import type { GradientTransformation, OptState } from "./transformation.js";
import { subtreesAt, unflattened } from "./trees.js";
import { grouped, joined, scaled } from "./vectors.js";

/** A layer's history before its first step: the first step overwrites all of it. */
export function emptyHistory(): np.Array {
  return np.zeros([HISTORY_LENGTH]);
}

/**
 * Limits each layer's updates to a percentile of its own last 100 norms.
 *
 * Source: bitsandbytes, `percentile_clipping`.
 *
 * @param percentile a whole number from 1 to 99: the index into the sorted history
 */
export function clipByPercentile(percentile: number): GradientTransformation<PercentileState> {
  checkInteger("clipByPercentile: percentile", percentile, 1, PERCENTILE_OFF - 1);
  return overTrees<PercentileState>("clipByPercentile", {
    init: ({ shapes, structure }) => ({
      count: int32(0),
      norms: unflattened(structure, shapes.map(emptyHistory)),
    }),
    update({ updates, weights, shapes, structure }, state) {
      checkFields("clipByPercentile", state, ["count", "norms"]);
      const { count, norms } = state;
      checkCount("clipByPercentile", "count", count);
      const histories = subtreesAt(NORMS, structure, norms) as np.Array[];
      histories.forEach((history, index) => {
        checkHistory(`${NORMS} of layer ${shown(shapes[index]!.name)}`, history);
      });
      for (const each of weights ?? []) each.dispose();
      const layers = updates.map((update, index) => ({ update, history: histories[index]! }));
      const next: ClippedLayer[] = [];
      for (const { items, positions } of grouped(layers, ({ update }) => String(isSmall(update)))) {
        const clipped = clippedTogether(items, count, percentile);
        positions.forEach((position, index) => (next[position] = clipped[index]!));
      }
      return [
        next.map(({ update }) => update),
        {
          count: count.add(int32(1)),
          norms: unflattened(
            structure,
            next.map(({ history }) => history),
          ),
        },
      ];
    },
  });
}

const NORMS = "clipByPercentile: state: norms";

/** The state of {@link clipByPercentile}. */
// A type, not an interface: only types are trees of arrays to TypeScript.
// eslint-disable-next-line @typescript-eslint/consistent-type-definitions
export type PercentileState = {
  /** int32: steps made. */
  count: np.Array;
  /** float32 [100] for each leaf of the parameters: the layer's last norms. */
  norms: OptState;
};

interface ClippedLayer {
  readonly update: np.Array;
  /** float32 [100]. */
  readonly history: np.Array;
}

/** Layers that are measured in the same way. Consumes their arrays; borrows the count. */
function clippedTogether(
  layers: readonly ClippedLayer[],
  count: np.Array,
  percentile: number,
): ClippedLayer[] {
  const [norm] = normsOf(layers.map(({ update }) => [update.ref]));
  const stacked = stackedHistories(layers.map(({ history }) => history));
  const { scale, history } = clipToPercentile(stacked, count.ref, norm!, percentile);
  const clipped = scaled(
    layers.map(({ update }) => update),
    scale,
  ).map((update, index) => ({ update, history: history.ref.slice(index) }));
  history.dispose();
  return clipped;
}

/** [layers, 100]. Consumes the histories. */
export function stackedHistories(histories: readonly np.Array[]): np.Array {
  return joined(histories.map((history) => history.reshape([1, HISTORY_LENGTH])));
}
