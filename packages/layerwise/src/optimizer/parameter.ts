/** A parameter: the weights of one layer and their gradient. */
import { shown } from "../check.js";
import { availableRuntime } from "../kernels/choose.js";

/** The largest layer: 2^30 elements, 4 GiB. */
export const MAX_ELEMENTS = 2 ** 30;

/** What a parameter may be given beside its values. */
export interface ParameterOptions {
  /** Names the layer in reports, errors and checkpoints. */
  name?: string;
  /** Sizes whose product is the number of elements. Default: one dimension. */
  shape?: readonly number[];
}

/** A layer: one tensor of weights, and its gradient. */
export class Parameter {
  /** The weights. `step()` writes into this array. */
  readonly data: Float32Array;
  /**
   * The gradient, of the same length as `data`: fill it, or set another array. null: `step()` leaves
   * the parameter alone.
   */
  grad: Float32Array | null = null;
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly size: number;
  readonly name: string | undefined;

  /**
   * @param data any Float32Array; `step()` passes it through the kernels' memory in pieces
   * @throws TypeError when `data` is no Float32Array or `name` no string; RangeError when the shape
   *   does not fit, or there are 0 or more than 2^30 elements
   */
  constructor(data: Float32Array, { name, shape }: ParameterOptions = {}) {
    if (name !== undefined && typeof name !== "string") {
      throw new TypeError(`name: expected a string, got ${shown(name)}`);
    }
    if (!(data instanceof Float32Array)) {
      throw new TypeError(`${label(name)}: data: expected a Float32Array, got ${shown(data)}`);
    }
    this.shape = Object.freeze([...(shape ?? [data.length])]);
    this.size = elementsOf(this.shape, name);
    if (this.size !== data.length) {
      throw new RangeError(
        `${label(name)}: shape [${this.shape.join(", ")}]: expected ${String(this.size)} elements in data, got ${String(data.length)}`,
      );
    }
    this.data = data;
    this.name = name;
  }

  /**
   * Makes a parameter in the kernels' memory, which `step()` updates where it is, without a copy.
   * Weights and gradient start at 0. When that memory (4 GiB) is full, or the platform has no shared
   * memory, the arrays are ordinary ones.
   *
   * @param shape sizes ≥ 1, 2^30 elements at most; [] is a single element
   * @throws RangeError for another shape
   */
  static allocate(shape: readonly number[], { name }: { name?: string } = {}): Parameter {
    const size = elementsOf(shape, name);
    const allocate = (): Float32Array =>
      availableRuntime()?.allocateFloat32(size) ?? new Float32Array(size);
    const parameter = new Parameter(allocate(), {
      shape,
      ...(name === undefined ? {} : { name }),
    });
    parameter.grad = allocate();
    return parameter;
  }

  /**
   * Gives the memory of an allocated parameter back. Its arrays must not be used any more. Does
   * nothing for arrays from outside.
   */
  dispose(): void {
    const runtime = availableRuntime();
    for (const array of [this.data, this.grad]) if (array !== null) runtime?.release(array);
    this.grad = null;
  }
}

/**
 * Puts a parameter on another array, for adapters to frameworks that move their tensors. Not for
 * parameters that were allocated.
 *
 * @throws RangeError for another length
 */
export function rebind(parameter: Parameter, data: Float32Array): void {
  if (data.length !== parameter.size) {
    throw new RangeError(
      `${label(parameter.name)}: expected ${String(parameter.size)} elements, got ${String(data.length)}`,
    );
  }
  (parameter as { data: Float32Array }).data = data;
}

function label(name: string | undefined): string {
  return name === undefined ? "parameter" : `parameter ${shown(name)}`;
}

/** The number of elements of a shape, checked. */
function elementsOf(shape: readonly number[], name: string | undefined): number {
  const size = shape.reduce((product, length) => product * length, 1);
  const valid = shape.every((length) => Number.isInteger(length) && length >= 1);
  if (!valid || size > MAX_ELEMENTS) {
    throw new RangeError(
      `${label(name)}: shape: expected whole sizes ≥ 1 with at most 2^30 elements together, got [${shape.join(", ")}]`,
    );
  }
  return size;
}
