/** Gradients as users give them, checked. */
import { checkObject, shown } from "../../check.js";
import type { NamedTensor, Tensor, TensorFlow, Variable } from "./tensorflow.js";

/** By variable name, or as a list. */
export type Gradients =
  | Readonly<Record<string, Tensor | null | undefined>>
  | readonly { readonly name: string; readonly tensor: Tensor | null | undefined }[];

export interface Given {
  readonly variable: Variable;
  readonly gradient: Tensor;
}

/**
 * The variables that have a gradient, in the order given.
 *
 * @throws TypeError or RangeError that names the variable
 */
export function checkedGradients(tf: TensorFlow, gradients: unknown): Given[] {
  const { registeredVariables } = tf.engine();
  const seen = new Set<string>();
  return entriesOf(gradients).flatMap(([name, gradient]) => {
    if (!Object.hasOwn(registeredVariables, name)) {
      throw new TypeError(
        `applyGradients: expected names of tf.variable()s that exist, got ${shown(name)}: it does not exist, or was disposed`,
      );
    }
    if (seen.has(name)) {
      throw new TypeError(`applyGradients: expected each variable once, got ${shown(name)} twice`);
    }
    seen.add(name);
    if (gradient === null || gradient === undefined) return [];
    const variable = registeredVariables[name]!;
    const checked = checkedGradient(variable, gradient);
    // An empty variable has nothing to learn.
    return checked.size === 0 ? [] : [{ variable, gradient: checked }];
  });
}

function entriesOf(gradients: unknown): (readonly [name: string, gradient: unknown])[] {
  if (!Array.isArray(gradients)) {
    return Object.entries(checkObject("applyGradients: gradients", gradients));
  }
  return gradients.map((entry: unknown, index) => {
    const what = `applyGradients: gradients[${String(index)}]`;
    const { name, tensor } = checkObject(what, entry) as Partial<NamedTensor>;
    if (typeof name === "string") return [name, tensor];
    throw new TypeError(`${what}: expected the name of a variable, got ${shown(name)}`);
  });
}

function checkedGradient({ name, dtype, shape }: Variable, gradient: unknown): Tensor {
  const label = `variable ${shown(name)}`;
  if (typeof gradient !== "object" || gradient === null || !("dataId" in gradient)) {
    throw new TypeError(`${label}: gradient: expected a tensor, got ${shown(gradient)}`);
  }
  const tensor = gradient as Tensor;
  if (tensor.isDisposed) {
    throw new TypeError(`${label}: gradient: expected a tensor, got a disposed one`);
  }
  for (const [what, actual] of [
    ["dtype", dtype],
    ["dtype of the gradient", tensor.dtype],
  ] as const) {
    if (actual !== "float32") {
      throw new TypeError(`${label}: ${what}: expected float32, got ${actual}`);
    }
  }
  if (tensor.shape.join() !== shape.join()) {
    throw new RangeError(
      `${label}: gradient: expected shape [${shape.join(", ")}], as the variable has, got [${tensor.shape.join(", ")}]`,
    );
  }
  return tensor;
}
