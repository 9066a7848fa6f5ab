/** A parameter: the weights of one layer and their gradient. */
import { shown } from "../check.js";
import { availableRuntime } from "../kernels/choose.js";

/** Memory that a parameter owns, to be freed once. */
interface OwnedMemory {
  free(): void;
}

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
  /** The memory that {@link allocate} took, whatever `grad` refers to now; null for arrays from outside. */
  #owned: readonly OwnedMemory[] | null = null;

  /**
   * @param data any Float32Array; `step()` passes it through the kernels' memory in pieces
   * @throws TypeError when `data` is no Float32Array or `name` no string; RangeError when the shape
   *   does not fit, or there are 0 or more than 2^30 elements
   */
  constructor(data: Float32Array, { name, shape }: ParameterOptions = {}) {
    if (name !== undefined && typeof name !== "string") {
      throw new TypeError(`name: got ${shown(name)}; allowed is a string`);
    }
    if (!(data instanceof Float32Array)) {
      throw new TypeError(`${label(name)}: data is ${shown(data)}; allowed is a Float32Array`);
    }
    this.shape = Object.freeze([...(shape ?? [data.length])]);
    this.size = elementsOf(this.shape, name);
    if (this.size !== data.length) {
      throw new RangeError(
        `${label(name)}: shape [${this.shape.join(", ")}] has ${String(this.size)} elements, data has ${String(data.length)}`,
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
    const owned: OwnedMemory[] = [];
    const zeros = (): Float32Array => {
      const memory = availableRuntime()?.allocateFloat32(size) ?? null;
      if (memory === null) return new Float32Array(size);
      owned.push(memory);
      return memory.view(Float32Array, size);
    };
    try {
      const options = name === undefined ? { shape } : { shape, name };
      const parameter = new Parameter(zeros(), options);
      parameter.grad = zeros();
      parameter.#owned = owned;
      return parameter;
    } catch (error) {
      for (const memory of owned) memory.free();
      throw error;
    }
  }

  /**
   * Frees the memory of an allocated parameter, once; arrays from outside are left alone. `data` is empty
   * afterwards and `grad` null, so that no step can use the parameter. Views that you still hold must not be used any
   * more: the memory goes to the next parameter.
   */
  dispose(): void {
    const owned = this.#owned;
    this.#owned = null;
    this.grad = null;
    if (owned === null) return;
    (this as { data: Float32Array }).data = new Float32Array(0);
    for (const memory of owned) memory.free();
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
      `${label(parameter.name)}: got ${String(data.length)} elements; allowed is ${String(parameter.size)}`,
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
      `${label(name)}: shape [${shape.join(", ")}]; allowed are whole sizes ≥ 1 with at most 2^30 elements together`,
    );
  }
  return size;
}
