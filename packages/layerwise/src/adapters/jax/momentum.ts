/** Momentum in operations of jax-js, with 32 bits or 8. */
import { numpy as np } from "@jax-js/jax";
import { checkNames, checkObject } from "../../check.js";
import { checkHyperparameters, DEFAULTS } from "../../options/options.js";
import type { Hyperparameters } from "../../options/options.js";
import { wantedMomentum } from "../../step/momentum.js";
import { dequantized, inBlocks, quantized, zeroBlocks } from "./blockwise.js";
import type { PackedBlocks } from "./blockwise.js";
import { computedOnce, fourAThread } from "./compiled.js";
import { int32, isMade } from "./scalars.js";
import { overTrees } from "./transformation.js";
import type { GradientTransformation, OptState } from "./transformation.js";
import { subtreesAt, unflattened } from "./trees.js";
import type { LayerShape } from "./trees.js";

/** The momentum of a layer: float32 in its shape, 8 bits, or, without momentum, nothing. */
export type LayerMomentum = np.Array | PackedBlocks | [];

/** The options that momentum has. */
export type MomentumValues = Pick<
  Hyperparameters,
  "momentum" | "dampening" | "nesterov" | "optimBits" | "min8bitSize" | "skipZeros"
>;

/** Zeros of the kind that the options ask for. */
export function zeroMomentum(values: MomentumValues, { shape, size }: LayerShape): LayerMomentum {
  switch (wantedMomentum({ ...DEFAULTS, lr: 0, ...values }, size)) {
    case "none":
      return [];
    case "float32":
      return np.zeros([...shape]);
    case "blockwise":
      return zeroBlocks(size);
  }
}

/** A layer's direction on its way into the momentum. */
export interface Accumulation {
  /** d, consumed. */
  readonly direction: np.Array;
  /** Where {@link MomentumValues.skipZeros} leaves elements alone; null without. Consumed. */
  readonly zeros: np.Array | null;
  /** Consumed. */
  readonly momentum: LayerMomentum;
  /** int32, steps made before. Borrowed. */
  readonly count: np.Array;
  /** int32: 0 keeps the momentum as it is, whatever the direction. null: always 1. Borrowed. */
  readonly made: np.Array | null;
}

/**
 * m ← μ·m + (1 − τ)·d, on a first step m = d; u = m, or d + μ·m with Nesterov.
 *
 * @returns u, which may be NaN in a step that is not made, and the momentum to keep, rounded to 8 bits there
 */
export function accumulated(
  values: MomentumValues,
  { direction, zeros, momentum, count, made }: Accumulation,
): { update: np.Array; momentum: LayerMomentum } {
  if (Array.isArray(momentum)) {
    zeros?.dispose();
    return { update: direction, momentum };
  }
  const isPacked = "codes" in momentum;
  const stored = isPacked
    ? dequantized({ codes: momentum.codes.ref, absmax: momentum.absmax.ref }, direction.shape)
    : momentum;
  const changed = changedMomentum(values, { direction, zeros, count, stored });
  const next = fourAThread(made === null ? changed : np.where(isMade(made), changed, stored.ref));
  const update = updateOf(values, { direction, zeros, next });
  stored.dispose();
  direction.dispose();
  if (!isPacked) {
    zeros?.dispose();
    return { update, momentum: next };
  }
  return { update, momentum: movedBlocks(momentum, quantized(next), { zeros, made }) };
}

/** u of a step that is made, with momentum of 32 bits or none, which is not kept. */
export function updateAlone(
  values: MomentumValues,
  {
    direction,
    zeros,
    momentum,
    count,
  }: Omit<Accumulation, "made" | "momentum"> & {
    readonly momentum: np.Array | null;
  },
): np.Array {
  if (momentum === null) {
    zeros?.dispose();
    return direction;
  }
  const next = changedMomentum(values, { direction, zeros, count, stored: momentum });
  const update = updateOf(values, { direction, zeros, next });
  for (const each of [momentum, direction, zeros, next]) each?.dispose();
  return update;
}

/** What a step's momentum is made from. Borrowed. */
type Ingredients = Pick<Accumulation, "direction" | "zeros">;

/** m of a step that is made. */
function changedMomentum(
  { momentum, dampening }: MomentumValues,
  { direction, zeros, count, stored }: Ingredients & { count: np.Array; stored: np.Array },
): np.Array {
  // Before the first step the stored momentum is 0, so that only dampening has to know of it.
  const added =
    dampening === 0
      ? direction.ref
      : direction.ref.mul(computedOnce(np.where(count.ref.equal(int32(0)), 1, 1 - dampening)));
  const sum = stored.ref.mul(momentum).add(added);
  return zeros === null ? sum : np.where(zeros.ref, stored.ref, sum);
}

function updateOf(
  { momentum, nesterov }: MomentumValues,
  { direction, zeros, next }: Ingredients & { next: np.Array },
): np.Array {
  const update = nesterov ? direction.ref.add(next.ref.mul(momentum)) : next.ref;
  return zeros === null ? update : np.where(zeros.ref, 0, update);
}

/**
 * Blocks that are left alone altogether, by skipZeros or in a step that is not made, keep their codes: rounding
 * again could change them.
 */
function movedBlocks(
  before: PackedBlocks,
  after: PackedBlocks,
  { zeros, made }: Pick<Accumulation, "zeros" | "made">,
): PackedBlocks {
  const blocks = after.absmax.size;
  const flags = [
    ...(zeros === null ? [] : [inBlocks(zeros.notEqual(true).astype(np.int32)).max(1)]),
    ...(made === null ? [] : [np.broadcastTo(made.ref, [blocks])]),
  ];
  if (flags.length === 0) {
    before.codes.dispose();
    before.absmax.dispose();
    return after;
  }
  const isMoved = flags.reduce(np.minimum).notEqual(int32(0));
  return {
    codes: np.where(isMoved.ref.reshape([blocks, 1]), after.codes, before.codes),
    absmax: np.where(isMoved, after.absmax, before.absmax),
  };
}

/** Options of {@link trace}. */
export type TraceOptions = Partial<MomentumValues> & Pick<MomentumValues, "momentum">;

const TRACE_NAMES = ["momentum", "dampening", "nesterov", "optimBits", "min8bitSize", "skipZeros"];

/**
 * Momentum as a transformation of its own, with 32 bits or 8.
 *
 * Source: `optax.trace`; the options are those of `LARS`. With `skipZeros`, elements of the updates that are
 * exactly 0 keep their momentum.
 *
 * @throws TypeError or RangeError that names the option, the value and what is allowed
 */
export function trace(options: TraceOptions): GradientTransformation {
  const given = checkObject("trace: options", options);
  checkNames("trace: options", given, TRACE_NAMES);
  if (given.momentum === undefined) {
    throw new TypeError("trace: momentum is missing; allowed is a number from 0 to below 1");
  }
  const values = checkHyperparameters({ ...DEFAULTS, lr: 0, ...options });
  return overTrees("trace", {
    init: ({ shapes, structure }) => ({
      count: int32(0),
      momentum: unflattened(
        structure,
        shapes.map((shape) => zeroMomentum(values, shape)),
      ),
    }),
    update({ updates, weights, structure }, state) {
      for (const each of weights ?? []) each.dispose();
      const { count, momentum } = state as { count: np.Array; momentum: OptState };
      const kept = subtreesAt("trace: state", structure, momentum) as LayerMomentum[];
      const steps = updates.map((direction, index) =>
        accumulated(values, {
          zeros: values.skipZeros ? direction.ref.equal(0) : null,
          direction,
          momentum: kept[index]!,
          count,
          made: null,
        }),
      );
      const next = steps.map((step) => step.momentum);
      return [
        steps.map(({ update }) => update),
        { count: count.add(int32(1)), momentum: unflattened(structure, next) },
      ];
    },
  });
}
