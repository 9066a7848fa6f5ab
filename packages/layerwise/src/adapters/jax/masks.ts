/** Masks: the layers that an option applies to. */
import { tree } from "@jax-js/jax";
import type { JsTree, JsTreeDef } from "@jax-js/jax";
import { shown } from "../../check.js";
import { subtreesAt } from "./trees.js";
import type { LayerShape } from "./trees.js";

/**
 * A tree of true and false with the structure of the parameters, or a prefix of it (`true` alone is one),
 * or a function that makes it from the tree of {@link LayerShape}:
 * `(shapes) => tree.map(({ ndim }: LayerShape) => ndim > 1, shapes)`. It gets no arrays, so it has nothing
 * to consume.
 */
export type Mask = JsTree<boolean> | ((shapes: JsTree<LayerShape>) => JsTree<boolean>);

/**
 * What a mask says of each layer.
 *
 * @param name the option, for errors
 * @throws TypeError for another structure, and for leaves that are neither true nor false
 */
export function maskedLayers(
  name: string,
  mask: Mask,
  { layers, structure }: { layers: readonly LayerShape[]; structure: JsTreeDef },
): boolean[] {
  const given = typeof mask === "function" ? mask(tree.unflatten(structure, layers)) : mask;
  const flags = subtreesAt(name, structure, given, (value) => typeof value === "boolean");
  return flags.map((flag, index) => {
    if (typeof flag === "boolean") return flag;
    throw new TypeError(
      `${name} ${shown(layers[index]?.name)}: expected true or false, got ${shown(flag)}`,
    );
  });
}
