/** Gradient transformations in the shape of optax, which jax-js' own have too. */
import { tree } from "@jax-js/jax";
import type { JsTree, JsTreeDef, numpy as np } from "@jax-js/jax";
import { shown } from "../../check.js";
import { flattenArrays, inOrderOf, layerShapes, leafNames, subtreesAt } from "./trees.js";
import type { ArrayTree, LayerShape } from "./trees.js";

/** What a transformation remembers: arrays only, so that it passes through `jit`. */
export type OptState = JsTree<np.Array>;

/**
 * A pair of pure functions, as in optax. Both consume all of their arguments; pass `tree.ref(params)` to
 * keep the parameters.
 */
export interface GradientTransformation<State extends OptState = OptState> {
  /** The state before the first step. */
  init(params: JsTree<np.Array>): State;
  /**
   * @param updates gradients, or the output of an earlier transformation
   * @param state what `init` or the last `update` returned
   * @param params the weights before the step
   * @returns updates with the structure of those given, and the next state, with the structure of the last
   */
  update<Params extends JsTree<np.Array>>(
    updates: Params,
    state: State,
    params?: Params,
  ): [Params, State];
}

/** The layers of one call. */
export interface Layers {
  readonly shapes: readonly LayerShape[];
  readonly structure: JsTreeDef;
}

/** A step of a transformation over flat lists. It consumes the arrays and the state. */
export interface FlatStep extends Layers {
  readonly updates: readonly np.Array[];
  /** null where `update` was called without parameters. */
  readonly weights: readonly np.Array[] | null;
}

/** A transformation over flat lists of layers, of any structure. */
export interface FlatTransformation<State extends OptState> {
  init(layers: Layers): State;
  update(step: FlatStep, state: State): [np.Array[], State];
}

/** Lifts a transformation over lists of layers to trees. */
export function overTrees<State extends OptState>(
  name: string,
  flat: FlatTransformation<State>,
): GradientTransformation<State> {
  return {
    init(params) {
      const flattened = flattenArrays(`${name}: params`, params);
      checkFloat32(`${name}: params`, flattened);
      const shapes = layerShapes(flattened);
      tree.dispose(params);
      return flat.init({ shapes, structure: flattened.structure });
    },
    update<Params extends ArrayTree>(updates: Params, state: State, params?: Params) {
      const flattened = flattenArrays(`${name}: updates`, updates);
      checkFloat32(`${name}: updates`, flattened);
      const shapes = layerShapes(flattened);
      const { structure } = flattened;
      const weights = params === undefined ? null : weightsLike(name, params, shapes, structure);
      const [next, nextState] = flat.update(
        { updates: flattened.leaves, weights, shapes, structure },
        state,
      );
      // To jit, the order of keys is part of a type: in another order everything would be compiled again.
      return [tree.unflatten(structure, next) as Params, inOrderOf(state, nextState)];
    },
  };
}

/** @throws TypeError that names the first layer of another type */
export function checkFloat32(
  what: string,
  { leaves, structure }: { leaves: readonly np.Array[]; structure: JsTreeDef },
): void {
  const index = leaves.findIndex(({ dtype }) => (dtype as string) !== "float32");
  if (index < 0) return;
  throw new TypeError(
    `${what} ${shown(leafNames(structure)[index])}: expected float32, got ${leaves[index]!.dtype}`,
  );
}

function weightsLike(
  name: string,
  params: ArrayTree,
  shapes: readonly LayerShape[],
  structure: JsTreeDef,
): np.Array[] {
  const what = `${name}: params`;
  const weights = subtreesAt(what, structure, params) as np.Array[];
  flattenArrays(what, weights);
  checkFloat32(what, { leaves: weights, structure });
  weights.forEach(({ shape }, index) => {
    const { name: layer, shape: expected } = shapes[index]!;
    if (shape.join() !== expected.join()) {
      throw new RangeError(
        `${what}: layer ${shown(layer)}: expected the shape of its update, [${expected.join(", ")}], got [${shape.join(", ")}]`,
      );
    }
  });
  return weights;
}

/** The weights of a step. @throws TypeError where `update` was called without */
export function requiredWeights(name: string, { weights }: FlatStep): readonly np.Array[] {
  if (weights !== null) return weights;
  throw new TypeError(
    `${name}: expected update(updates, state, params), got no params: it needs the weights`,
  );
}

/**
 * One transformation after the other. Its state is the list of theirs.
 *
 * Source: `optax.chain`.
 */
export function chain<States extends OptState[]>(
  ...transformations: { [Index in keyof States]: GradientTransformation<States[Index]> }
): GradientTransformation<States> {
  const parts = transformations as GradientTransformation[];
  return {
    init(params) {
      const states = parts.map((each) => each.init(tree.ref(params)));
      tree.dispose(params);
      return states as States;
    },
    update<Params extends ArrayTree>(updates: Params, state: States, params?: Params) {
      // From outside it may be anything.
      const given: unknown = state;
      if (!Array.isArray(given) || given.length !== parts.length) {
        throw new TypeError(
          `chain: state: expected a list of ${String(parts.length)}, as init returned it, got ${shown(given)}`,
        );
      }
      let passed = updates;
      const states = parts.map((each, index) => {
        const kept = params === undefined ? undefined : tree.ref(params);
        const [next, nextState] = each.update(passed, state[index]!, kept);
        passed = next;
        return nextState;
      });
      tree.dispose(params);
      return [passed, states as States];
    },
  };
}

/**
 * Adds updates to parameters: the last line of a step. Consumes both.
 *
 * @returns the new parameters, with the structure of the old
 * @throws TypeError when the structures differ
 */
export function applyUpdates<Params extends ArrayTree>(params: Params, updates: Params): Params {
  const { leaves, structure } = flattenArrays("applyUpdates: params", params);
  const added = subtreesAt("applyUpdates: updates", structure, updates) as np.Array[];
  return tree.unflatten(
    structure,
    leaves.map((weights, index) => weights.add(added[index]!)),
  ) as Params;
}
