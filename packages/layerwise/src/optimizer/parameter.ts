/** A parameter: the weights of one layer and their gradient. */
import {
  checkFields,
  checkShape,
  checkText,
  isDetached,
  refusal,
  shown,
  shownShape,
} from "../check.js";
import { availableRuntime } from "../kernels/choose.js";

/** Memory that a parameter owns, to be freed once. */
interface OwnedMemory {
  free(): void;
}

/** The largest layer: 2^30 elements, 4 GiB. */
export const MAX_ELEMENTS = 2 ** 30;

/**
 * Marks parameters of every copy of the library that a program may have loaded, so that one copy can say that a
 * parameter is another's: its memory, kernels and threads are too.
 */
const BRAND = Symbol.for("layerwise.Parameter");

/** Options of a parameter. */
export interface ParameterOptions {
  /** Names the layer in reports, errors and checkpoints. */
  name?: string;
  /** Sizes whose product is the number of elements. Default: one dimension. */
  shape?: readonly number[];
}

/** An allocated parameter. It has a gradient until that is set to null, or until {@link Parameter.dispose}. */
export interface AllocatedParameter extends Parameter {
  get grad(): Float32Array;
  set grad(gradient: Float32Array | null);
}

/** A layer: one tensor of weights, and its gradient. */
export class Parameter {
  static {
    Object.defineProperty(this.prototype, BRAND, { value: true });
  }

  /** The weights. `step()` writes into this array. */
  readonly data: Float32Array;
  /**
   * The gradient, of the same length as `data`. Fill it, or set another array. If it is null, `step()` ignores
   * the parameter.
   */
  grad: Float32Array | null = null;
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly size: number;
  readonly name: string | undefined;
  /** The memory that {@link allocate} took, regardless of what `grad` refers to now; null for arrays from outside. */
  #owned: readonly OwnedMemory[] | null = null;

  /**
   * @param data any Float32Array. `step()` copies it through the kernels' memory, up to 4 times as slow as
   *   {@link allocate}
   * @throws TypeError if `data` is not a Float32Array or is detached, `name` is not a string, `shape` is not an array,
   *   or an option is unknown; RangeError if the shape does not fit, or there are 0 or more than 2^30 elements
   */
  constructor(data: Float32Array, options: ParameterOptions = {}) {
    const name = checkedName(checkFields("parameter options", options, ["name", "shape"]));
    if (!(data instanceof Float32Array) || isDetached(data)) {
      throw new TypeError(`${label(name)}: data: expected a Float32Array, got ${shown(data)}`);
    }
    const { shape = [data.length] } = options;
    this.size = elementsOf(shape, name);
    this.shape = Object.freeze([...shape]);
    if (this.size !== data.length) {
      throw new RangeError(
        `${label(name)}: shape ${shownShape(this.shape)}: expected ${String(this.size)} elements in data, got ${String(data.length)}`,
      );
    }
    this.data = data;
    this.name = name;
  }

  /**
   * Makes a parameter in the kernels' memory, which `step()` updates in place, without copies.
   * Weights and gradient start at 0. If that memory (4 GiB) is full, or the platform has no shared
   * memory, the arrays are ordinary ones.
   *
   * @param shape sizes ≥ 1, at most 2^30 elements; [] is a single element
   * @throws TypeError if the shape is not an array, RangeError if its sizes are wrong
   * @example
   * const weights = Parameter.allocate([784, 300], { name: "dense/kernel" });
   * weights.data.set(initialWeights);
   */
  static allocate(shape: readonly number[], options: { name?: string } = {}): AllocatedParameter {
    const name = checkedName(checkFields("Parameter.allocate: options", options, ["name"]));
    const size = elementsOf(shape, name);
    const owned: OwnedMemory[] = [];
    const zeros = (): Float32Array => {
      const memory = availableRuntime()?.allocateFloat32(size) ?? null;
      if (memory === null) return new Float32Array(size);
      owned.push(memory);
      return memory.view(Float32Array, size);
    };
    try {
      const parameter = new Parameter(zeros(), name === undefined ? { shape } : { shape, name });
      parameter.grad = zeros();
      parameter.#owned = owned;
      return parameter as AllocatedParameter;
    } catch (error) {
      for (const memory of owned) memory.free();
      throw error;
    }
  }

  /**
   * Frees the memory of an allocated parameter, once; arrays from outside stay as they are. Afterwards `data` is empty
   * and `grad` null, so no step can use the parameter. Do not use views that you still hold: the memory goes to the
   * next parameter.
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
      `${label(parameter.name)}: expected ${String(parameter.size)} elements, got ${String(data.length)}`,
    );
  }
  (parameter as { data: Float32Array }).data = data;
}

function label(name: string | undefined): string {
  return name === undefined ? "parameter" : `parameter ${shown(name)}`;
}

function checkedName({ name }: Record<string, unknown>): string | undefined {
  return name === undefined ? undefined : checkText("name", name);
}

/** The number of elements of a shape, checked. */
function elementsOf(shape: readonly number[], name: string | undefined): number {
  return checkShape(`${label(name)}: shape`, shape, {
    least: 1,
    most: MAX_ELEMENTS,
    mostShown: "2^30",
  });
}

/** Whether a value is a parameter, of this copy of the library or of another. */
export function isParameter(value: unknown): boolean {
  return typeof value === "object" && value !== null && BRAND in value;
}

/**
 * @param what where the value stands, for errors
 * @throws TypeError for anything but a parameter of this copy of the library
 */
export function checkedParameter(what: string, value: unknown): Parameter {
  if (value instanceof Parameter) return value;
  throw new TypeError(
    isParameter(value)
      ? `${what}: expected a Parameter of this copy of layerwise, got one of another copy: the program loads the library twice, in two versions or from two files`
      : refusal(what, value, "a Parameter"),
  );
}
