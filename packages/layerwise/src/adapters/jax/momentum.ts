/** Momentum in operations of jax-js, with 32 bits or 8. */
import { numpy as np } from "@jax-js/jax";
import { checkFraction, checkNames, checkObject, shown } from "../../check.js";
import { checkHyperparameters, DEFAULTS } from "../../options/options.js";
import type { Hyperparameters } from "../../options/options.js";
import { blockCount } from "../../state/blockwise.js";
import { wantedMomentum } from "../../step/momentum.js";
import { dequantized, inBlocks, quantized, WORDS, zeroBlocks } from "./blockwise.js";
import type { PackedBlocks } from "./blockwise.js";
import { computedOnce, fourAThread } from "./compiled.js";
import type { IsMade } from "./counters.js";
import { int32 } from "./scalars.js";
import { checkCount, checkFields, checkKind, describe } from "./states.js";
import { overTrees } from "./transformation.js";
import type { GradientTransformation, OptState } from "./transformation.js";
import { isArray, subtreesAt, unflattened } from "./trees.js";
import type { LayerShape } from "./trees.js";

/** The momentum of a layer: float32 in its shape, 8 bits, or, without momentum, nothing. */
export type LayerMomentum = np.Array | PackedBlocks | [];

/** The options that momentum has. */
export type MomentumValues = Pick<
  Hyperparameters,
  "momentum" | "dampening" | "nesterov" | "optimBits" | "min8bitSize" | "skipZeros"
>;

/** The kind of momentum that the options ask for. */
function momentumKind(
  values: MomentumValues,
  { size }: LayerShape,
): "none" | "float32" | "blockwise" {
  return wantedMomentum({ ...DEFAULTS, lr: 0, ...values }, size);
}

/** Zeros of the kind that the options ask for. */
export function zeroMomentum(values: MomentumValues, layer: LayerShape): LayerMomentum {
  const { shape, size } = layer;
  switch (momentumKind(values, layer)) {
    case "none":
      return [];
    case "float32":
      return np.zeros([...shape]);
    case "blockwise":
      return zeroBlocks(size);
  }
}

const MOMENTUM_NAMES = {
  none: "no momentum",
  float32: "momentum of 32 bits",
  blockwise: "momentum of 8 bits",
} as const;

/**
 * Momentum from a state, checked. It throws for a state of other options, above all for 32 bits in place of 8.
 *
 * @param name of the transformation
 * @throws TypeError that names the layer, what is expected and what is there
 */
export function checkMomentum(
  name: string,
  values: MomentumValues,
  { layer, momentum }: { layer: LayerShape; momentum: unknown },
): LayerMomentum {
  const what = `${name}: state: momentum of layer ${shown(layer.name)}`;
  const kind = momentumKind(values, layer);
  const given = givenKind(momentum);
  if (given !== kind) {
    throw new TypeError(
      `${what}: expected ${MOMENTUM_NAMES[kind]}, got ${given === null ? describe(momentum) : MOMENTUM_NAMES[given]}`,
    );
  }
  if (kind === "float32") checkKind(what, momentum, { dtype: "float32", shape: layer.shape });
  if (kind === "blockwise") {
    const { codes, absmax } = momentum as PackedBlocks;
    const blocks = blockCount(layer.size);
    checkKind(`${what}: codes`, codes, { dtype: "uint32", shape: [blocks, WORDS] });
    checkKind(`${what}: absmax`, absmax, { dtype: "float32", shape: [blocks] });
  }
  return momentum as LayerMomentum;
}

function givenKind(momentum: unknown): keyof typeof MOMENTUM_NAMES | null {
  if (isArray(momentum)) return "float32";
  if (Array.isArray(momentum) && momentum.length === 0) return "none";
  const isPacked = typeof momentum === "object" && momentum !== null && "codes" in momentum;
  return isPacked && "absmax" in momentum ? "blockwise" : null;
}

/** A layer's direction on its way into the momentum. */
export interface Accumulation {
  /** d, consumed. */
  readonly direction: np.Array;
  /** Where {@link MomentumValues.skipZeros} leaves elements alone; null without. Consumed. */
  readonly zeros: np.Array | null;
  /** Consumed. */
  readonly momentum: LayerMomentum;
  /** int32, steps made before; only dampening asks for it. Borrowed. */
  readonly count: np.Array | null;
  /** A step that is not made keeps the momentum as it is, whatever the direction. null: all are made. */
  readonly isMade: IsMade | null;
}

/**
 * m ← μ·m + (1 − τ)·d, on a first step m = d; u = m, or d + μ·m with Nesterov.
 *
 * @returns u, which may be NaN in a step that is not made, and the momentum to keep, rounded to 8 bits there
 */
export function accumulated(
  values: MomentumValues,
  { direction, zeros, momentum, count, isMade }: Accumulation,
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
  const next = fourAThread(isMade === null ? changed : np.where(isMade(), changed, stored.ref));
  const update = updateOf(values, { direction, zeros, next });
  stored.dispose();
  direction.dispose();
  if (!isPacked) {
    zeros?.dispose();
    return { update, momentum: next };
  }
  return { update, momentum: movedBlocks(momentum, quantized(next), { zeros, isMade }) };
}

/** u of a step that is made, with momentum of 32 bits or none, which is not kept. */
export function updateAlone(
  values: MomentumValues,
  {
    direction,
    zeros,
    momentum,
    count,
  }: Omit<Accumulation, "isMade" | "momentum"> & {
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
  {
    direction,
    zeros,
    count,
    stored,
  }: Ingredients & Pick<Accumulation, "count"> & { stored: np.Array },
): np.Array {
  // Before the first step the stored momentum is 0, so that only dampening has to know of it.
  const added =
    dampening === 0
      ? direction.ref
      : direction.ref.mul(computedOnce(np.where(count!.ref.equal(int32(0)), 1, 1 - dampening)));
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
  { zeros, isMade }: Pick<Accumulation, "zeros" | "isMade">,
): PackedBlocks {
  const blocks = after.absmax.size;
  const flags = [
    ...(zeros === null ? [] : [inBlocks(zeros.notEqual(true).astype(np.int32)).max(1)]),
    ...(isMade === null ? [] : [np.broadcastTo(isMade().astype(np.int32), [blocks])]),
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

/** Options of {@link trace}: those of `LARS` that momentum has, and optax' name for μ. Give one of the two. */
export interface TraceOptions extends Partial<MomentumValues> {
  /** μ in [0, 1), as optax calls it. */
  decay?: number;
}

/** The state of {@link trace}. */
// A type, not an interface: only types are trees of arrays to TypeScript.
// eslint-disable-next-line @typescript-eslint/consistent-type-definitions
export type TraceState = {
  /** int32: steps made. An empty list without dampening, which alone asks for it. */
  count: np.Array | [];
  /** A {@link LayerMomentum} for each leaf of the parameters. */
  momentum: OptState;
};

const TRACE_NAMES = [
  "momentum",
  "decay",
  "dampening",
  "nesterov",
  "optimBits",
  "min8bitSize",
  "skipZeros",
];

/**
 * Momentum as a transformation of its own, with 32 bits or 8.
 *
 * Source: `optax.trace`; the options are those of `LARS`. With `skipZeros`, elements of the updates that are
 * exactly 0 keep their momentum.
 *
 * @throws TypeError or RangeError that names the option, what was expected, and the value
 */
export function trace(options: TraceOptions): GradientTransformation<TraceState> {
  const values = traceValues(options);
  return overTrees<TraceState>("trace", {
    init: ({ shapes, structure }) => ({
      count: values.dampening === 0 ? [] : int32(0),
      momentum: unflattened(
        structure,
        shapes.map((shape) => zeroMomentum(values, shape)),
      ),
    }),
    update({ updates, weights, shapes, structure }, state) {
      checkFields("trace", state, ["count", "momentum"]);
      const count = countOf(values, state);
      const kept = subtreesAt("trace: state: momentum", structure, state.momentum).map(
        (momentum, index) => checkMomentum("trace", values, { layer: shapes[index]!, momentum }),
      );
      for (const each of weights ?? []) each.dispose();
      const steps = updates.map((direction, index) =>
        accumulated(values, {
          zeros: values.skipZeros ? direction.ref.equal(0) : null,
          direction,
          momentum: kept[index]!,
          count,
          isMade: null,
        }),
      );
      const momentum = steps.map((step) => step.momentum);
      return [
        steps.map(({ update }) => update),
        {
          count: count === null ? [] : count.add(int32(1)),
          momentum: unflattened(structure, momentum),
        },
      ];
    },
  });
}

/** The count of a state, checked; null without dampening. */
function countOf({ dampening }: MomentumValues, { count }: TraceState): np.Array | null {
  if (dampening !== 0) {
    checkCount("trace", "count", count);
    return count as np.Array;
  }
  if (Array.isArray(count)) return null;
  throw new TypeError(
    `trace: state: count: expected an empty list without dampening, got ${describe(count)}`,
  );
}

function traceValues(options: TraceOptions): Hyperparameters {
  const given = checkObject("trace: options", options);
  checkNames("trace: options", given, TRACE_NAMES);
  const { momentum, decay, ...others } = options;
  if (momentum !== undefined && decay !== undefined) {
    throw new TypeError(
      `trace: expected momentum or decay, two names for one number, got momentum ${shown(momentum)} and decay ${shown(decay)}`,
    );
  }
  if (momentum === undefined && decay === undefined) {
    throw new TypeError("trace: momentum: expected a number in [0, 1), got none");
  }
  if (decay !== undefined) checkFraction("trace: decay", decay);
  return checkHyperparameters({ ...DEFAULTS, lr: 0, ...others, momentum: momentum ?? decay! });
}
