/** Gradient transformations in the shape of optax, which is that of jax-js' own. */
import { tree } from "@jax-js/jax";
import type { JsTree, JsTreeDef, numpy as np } from "@jax-js/jax";
import { flattenArrays, layerShapes, subtreesAt } from "./trees.js";
import type { ArrayTree, LayerShape } from "./trees.js";

/** What a transformation remembers: arrays only, so that it passes through `jit`. */
export type OptState = JsTree<np.Array>;

/**
 * A pair of pure functions, as in optax. Both consume all of their arguments; pass `tree.ref(params)` to
 * keep the parameters.
 */
export interface GradientTransformation {
  /** The state before the first step. */
  init(params: JsTree<np.Array>): OptState;
  /**
   * @param updates gradients, or what an earlier transformation made of them
   * @param state what `init` or the last `update` returned
   * @param params the weights before the step
   * @returns updates with the structure of those given, and the next state
   */
  update<Params extends JsTree<np.Array>>(
    updates: Params,
    state: OptState,
    params?: Params,
  ): [Params, OptState];
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
export interface FlatTransformation {
  init(layers: Layers): OptState;
  update(step: FlatStep, state: OptState): [np.Array[], OptState];
}

/** Lifts a transformation over lists of layers to trees. */
export function overTrees(name: string, flat: FlatTransformation): GradientTransformation {
  return {
    init(params) {
      const flattened = flattenArrays(`${name}: params`, params);
      const shapes = layerShapes(flattened);
      tree.dispose(params);
      return flat.init({ shapes, structure: flattened.structure });
    },
    update<Params extends ArrayTree>(updates: Params, state: OptState, params?: Params) {
      const flattened = flattenArrays(`${name}: updates`, updates);
      const shapes = layerShapes(flattened);
      const { structure } = flattened;
      for (const { dtype } of flattened.leaves) checkFloat32(name, dtype);
      const weights = params === undefined ? null : weightsLike(name, params, shapes, structure);
      const [next, nextState] = flat.update(
        { updates: flattened.leaves, weights, shapes, structure },
        state,
      );
      return [tree.unflatten(structure, next) as Params, nextState];
    },
  };
}

function checkFloat32(name: string, dtype: string): void {
  if (dtype === "float32") return;
  throw new TypeError(`${name}: updates of ${dtype}; allowed is float32`);
}

function weightsLike(
  name: string,
  params: ArrayTree,
  shapes: readonly LayerShape[],
  structure: JsTreeDef,
): np.Array[] {
  const weights = subtreesAt(`${name}: params`, structure, params) as np.Array[];
  flattenArrays(`${name}: params`, weights);
  weights.forEach(({ shape }, index) => {
    const { name: layer, shape: expected } = shapes[index]!;
    if (shape.join() !== expected.join()) {
      throw new RangeError(
        `${name}: layer "${layer}": params have shape [${shape.join(", ")}], updates [${expected.join(", ")}]; allowed are equal shapes`,
      );
    }
  });
  return weights;
}

/** The weights of a step. @throws TypeError where `update` was called without */
export function requiredWeights(name: string, { weights }: FlatStep): readonly np.Array[] {
  if (weights !== null) return weights;
  throw new TypeError(
    `${name}: params are missing; allowed is update(updates, state, params), as the weights count here`,
  );
}

/**
 * One transformation after the other. Its state is the list of theirs.
 *
 * Source: `optax.chain`.
 */
export function chain(...transformations: GradientTransformation[]): GradientTransformation {
  return {
    init(params) {
      const states = transformations.map((each) => each.init(tree.ref(params)));
      tree.dispose(params);
      return states;
    },
    update<Params extends ArrayTree>(updates: Params, state: OptState, params?: Params) {
      if (!Array.isArray(state) || state.length !== transformations.length) {
        throw new TypeError(
          `chain: got ${Array.isArray(state) ? `${String(state.length)} states` : "no list of states"}; allowed are ${String(transformations.length)}, as init returned them`,
        );
      }
      let passed = updates;
      const states = transformations.map((each, index) => {
        const given = params === undefined ? undefined : tree.ref(params);
        const [next, nextState] = each.update(passed, state[index]!, given);
        passed = next;
        return nextState;
      });
      tree.dispose(params);
      return [passed, states];
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
