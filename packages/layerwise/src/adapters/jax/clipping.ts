/** Clipping by percentile as a transformation of its own. */
import { numpy as np } from "@jax-js/jax";
import { checkInteger } from "../../check.js";
import { HISTORY_LENGTH, PERCENTILE_OFF } from "../../decide/percentile-clipping.js";
import { computedOnce } from "./compiled.js";
import { clipToPercentile } from "./decide.js";
import { normOf } from "./norms.js";
import { int32 } from "./scalars.js";
import { overTrees } from "./transformation.js";
import type { GradientTransformation, OptState } from "./transformation.js";
import { subtreesAt, unflattened } from "./trees.js";

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
export function clipByPercentile(percentile: number): GradientTransformation {
  checkInteger("clipByPercentile: percentile", percentile, 1, PERCENTILE_OFF - 1);
  return overTrees("clipByPercentile", {
    init: ({ shapes, structure }) => ({
      count: int32(0),
      norms: unflattened(structure, shapes.map(emptyHistory)),
    }),
    update({ updates, weights, structure }, state) {
      for (const each of weights ?? []) each.dispose();
      const { count, norms } = state as { count: np.Array; norms: OptState };
      const histories = subtreesAt("clipByPercentile: state", structure, norms) as np.Array[];
      const clips = updates.map((update, index) =>
        clipToPercentile(histories[index]!, count.ref, normOf(update.ref), percentile),
      );
      const next = unflattened(
        structure,
        clips.map(({ history }) => history),
      );
      return [
        updates.map((update, index) => update.mul(computedOnce(clips[index]!.scale))),
        { count: count.add(int32(1)), norms: next },
      ];
    },
  });
}
