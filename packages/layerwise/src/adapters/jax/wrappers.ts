/** Transformations that wrap another one. */
import { numpy as np, tree } from "@jax-js/jax";
import { checkBoolean, checkInteger, checkNames, checkObject } from "../../check.js";
import { computedOnce } from "./compiled.js";
import { countSkipped, isMadeFrom } from "./counters.js";
import type { IsMade } from "./counters.js";
import { maskedLayers } from "./masks.js";
import type { Mask } from "./masks.js";
import { areAllFinite, finiteSum } from "./norms.js";
import { int32 } from "./scalars.js";
import { checkCount, checkFields, checkKind } from "./states.js";
import { checkFloat32 } from "./transformation.js";
import type { GradientTransformation, OptState } from "./transformation.js";
import { flattenArrays, inOrderOf, layerShapes, subtreesAt, unflattened } from "./trees.js";
import type { ArrayTree, FlatTree, LayerShape } from "./trees.js";

/** The state of {@link skipNonFinite}. */
// Types, not interfaces: only types are trees of arrays to TypeScript.
// eslint-disable-next-line @typescript-eslint/consistent-type-definitions
export type SkipState<State extends OptState = OptState> = {
  /** int32: steps skipped, because an update was not finite. */
  skipped: np.Array;
  inner: State;
};

/**
 * Skips steps whose incoming updates have a NaN or infinite element: it returns 0 and keeps the inner state.
 * `lars` does this itself; use this for chains of pieces and for other optimizers.
 *
 * Source: `optax.apply_if_finite`, which tests the output of the inner transformation, and gives up after some steps.
 *
 * @param inner the transformation that makes the steps
 */
export function skipNonFinite<State extends OptState>(
  inner: GradientTransformation<State>,
): GradientTransformation<SkipState<State>> {
  const name = "skipNonFinite";
  return {
    init: (params) => ({ skipped: int32(0), inner: inner.init(params) }),
    update<Params extends ArrayTree>(updates: Params, state: SkipState<State>, params?: Params) {
      checkFields(name, state, ["skipped", "inner"]);
      checkCount(name, "skipped", state.skipped);
      const { leaves } = float32Leaves(`${name}: updates`, updates);
      const isFinite = areAllFinite(leaves.map(({ ref }) => finiteSum(ref)));
      const { next: skipped, made: isStep } = countSkipped(state.skipped, isFinite);
      const isMade = isMadeFrom(isStep);
      const before = tree.ref(state.inner);
      const [made, after] = inner.update(updates, state.inner, params);
      const next = {
        skipped,
        inner: chosen(`${name}: inner state`, isMade, { after, before }),
      };
      const kept = zerosUnless(isMade, made);
      isStep.dispose();
      return [kept, inOrderOf(state, next)];
    },
  };
}

/** Options of {@link multiSteps}. */
export interface MultiStepsOptions {
  /** true: the inner transformation gets the mean of the gradients; false: their sum. Default true. */
  useGradMean?: boolean;
}

/** The state of {@link multiSteps}. */
// eslint-disable-next-line @typescript-eslint/consistent-type-definitions
export type MultiStepsState<State extends OptState = OptState> = {
  /** int32: gradients in `accumulated`, 0 … k − 1. */
  miniStep: np.Array;
  /** The mean or the sum of the gradients since the last step, with the structure of the parameters. */
  accumulated: OptState;
  inner: State;
};

/**
 * Accumulates gradients over k calls: every k-th call makes a step of the inner transformation with their mean, and the
 * others return 0. So a batch can be larger than what fits into memory.
 *
 * `jit` has no branches: every call computes the inner transformation, and every k-th uses it. The state keeps one
 * float32 gradient.
 *
 * Source: `optax.MultiSteps`.
 *
 * @param inner the transformation that makes the steps
 * @param k calls per step, ≥ 1
 * @throws TypeError or RangeError that names the option, what was expected, and the value
 */
export function multiSteps<State extends OptState>(
  inner: GradientTransformation<State>,
  k: number,
  options: MultiStepsOptions = {},
): GradientTransformation<MultiStepsState<State>> {
  const name = "multiSteps";
  checkInteger(`${name}: k`, k, 1);
  checkNames(`${name}: options`, checkObject(`${name}: options`, options), ["useGradMean"]);
  const { useGradMean = true } = options;
  checkBoolean(`${name}: useGradMean`, useGradMean);
  return {
    init(params) {
      const { leaves, structure } = float32Leaves(`${name}: params`, params);
      const zeros = leaves.map(({ shape }) => np.zeros(shape));
      return {
        miniStep: int32(0),
        accumulated: unflattened(structure, zeros),
        inner: inner.init(params),
      };
    },
    update<Params extends ArrayTree>(
      updates: Params,
      state: MultiStepsState<State>,
      params?: Params,
    ) {
      checkFields(name, state, ["miniStep", "accumulated", "inner"]);
      const { miniStep } = state;
      checkCount(name, "miniStep", miniStep);
      const flattened = float32Leaves(`${name}: updates`, updates);
      const { leaves, structure } = flattened;
      const sums = accumulatedLeaves(`${name}: state: accumulated`, flattened, state.accumulated);
      // A running mean stays in the range of its terms; their sum might leave float32's.
      const weight = useGradMean
        ? computedOnce(np.reciprocal(toFloat(miniStep.ref.add(int32(1)))))
        : null;
      const means = leaves.map((gradient, index) => {
        const sum = sums[index]!;
        if (weight === null) return sum.add(gradient);
        return sum.ref.add(gradient.sub(sum).mul(weight.ref));
      });
      weight?.dispose();
      const isLast: IsMade = () => miniStep.ref.equal(int32(k - 1));
      const before = tree.ref(state.inner);
      const given = tree.unflatten(
        structure,
        means.map(({ ref }) => ref),
      ) as Params;
      const [made, after] = inner.update(given, state.inner, params);
      const next = {
        miniStep: miniStep.ref.add(int32(1)).mod(int32(k)),
        accumulated: unflattened(
          structure,
          means.map((mean) => np.where(isLast(), 0, mean)),
        ),
        inner: chosen(`${name}: inner state`, isLast, { after, before }),
      };
      const kept = zerosUnless(isLast, made);
      miniStep.dispose();
      return [kept, inOrderOf(state, next)];
    },
  };
}

/** The accumulated gradients in the order of the updates' leaves, checked. */
function accumulatedLeaves(
  what: string,
  flattened: FlatTree<np.Array>,
  accumulated: OptState,
): np.Array[] {
  const shapes = layerShapes(flattened);
  return subtreesAt(what, flattened.structure, accumulated).map((array, index) => {
    const { name, shape } = shapes[index]!;
    checkKind(`${what} of layer "${name}"`, array, { dtype: "float32", shape });
    return array as np.Array;
  });
}

function toFloat(count: np.Array): np.Array {
  return count.astype(np.float32);
}

/**
 * Excludes layers: the inner transformation sees only those that the mask selects, and the updates of the others pass
 * unchanged. Only the selected layers have state. In the trees that the inner transformation gets, an empty list replaces
 * each excluded layer.
 *
 * Source: `optax.masked`.
 *
 * @param inner the transformation of the selected layers
 * @param mask true for selected layers: see {@link Mask}
 * @returns a transformation with the state of the inner one; an empty list if the mask selects no layer
 */
export function masked<State extends OptState>(
  inner: GradientTransformation<State>,
  mask: Mask,
): GradientTransformation<State | []> {
  return {
    init(params) {
      const { keeps, prune } = maskOver("params", mask, params);
      if (!keeps.includes(true)) {
        tree.dispose(params);
        return [];
      }
      return inner.init(prune(params, { disposes: true }));
    },
    update<Params extends ArrayTree>(updates: Params, state: State | [], params?: Params) {
      const { keeps, structure, prune } = maskOver("updates", mask, updates);
      if (!keeps.includes(true)) {
        tree.dispose(params);
        return [updates, state];
      }
      const [next, nextState] = inner.update(
        prune(updates, { disposes: false }),
        state as State,
        params === undefined ? undefined : prune(params, { disposes: true }),
      );
      const made = subtreesAt("masked: inner updates", structure, next);
      const leaves = subtreesAt("masked: updates", structure, updates) as np.Array[];
      const merged = leaves.map((update, index) =>
        keeps[index] === true ? (made[index] as np.Array) : update,
      );
      return [tree.unflatten(structure, merged) as Params, nextState];
    },
  };
}

/** What a mask says of a tree, and how to take out what it does not keep. */
function maskOver(what: string, mask: Mask, arrays: ArrayTree) {
  const flattened = flattenArrays(`masked: ${what}`, arrays);
  const { structure } = flattened;
  const layers: readonly LayerShape[] = layerShapes(flattened);
  const keeps = maskedLayers("masked: mask", mask, { layers, structure });
  const prune = (of: ArrayTree, { disposes }: { disposes: boolean }): ArrayTree =>
    unflattened(
      structure,
      (subtreesAt(`masked: ${what}`, structure, of) as np.Array[]).map((array, index) => {
        if (keeps[index] === true) return array;
        if (disposes) array.dispose();
        return [];
      }),
    );
  return { keeps, structure, prune };
}

/** A tree taken apart, all of float32. */
function float32Leaves(what: string, arrays: ArrayTree): FlatTree<np.Array> {
  const flattened = flattenArrays(what, arrays);
  checkFloat32(what, flattened);
  return flattened;
}

/** The state after a step that is made, or else the one before. Consumes both. */
function chosen<State extends OptState>(
  what: string,
  isMade: IsMade,
  { after, before }: Record<"after" | "before", State>,
): State {
  const [leaves, structure] = tree.flatten(before);
  const others = subtreesAt(what, structure, after) as np.Array[];
  return unflattened(
    structure,
    leaves.map((kept, index) => np.where(isMade(), others[index]!, kept)),
  ) as State;
}

/** Updates of a step that is made, or else 0. Consumes them. */
function zerosUnless<Params extends ArrayTree>(isMade: IsMade, updates: Params): Params {
  const [leaves, structure] = tree.flatten(updates);
  return tree.unflatten(
    structure,
    leaves.map((update) => np.where(isMade(), update, 0)),
  ) as Params;
}
