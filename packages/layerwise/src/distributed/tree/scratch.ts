/** Memory for messages that are put together from small arrays, or added to others. */
import { availableRuntime } from "../../kernels/choose.js";
import type { Allocation } from "../../kernels/wasm/memory/allocation.js";
import type { NumberArray } from "../collective.js";

/** Of the largest element. */
const MOST_BYTES = 8;

interface ArrayType {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBufferLike, offset: number, length: number): NumberArray;
}

/** In the kernels' memory, where additions need no copy; elsewhere when that is full. Taken when it is first needed. */
export class Scratch {
  readonly #elements: number;
  #memory: Allocation | SharedArrayBuffer | null = null;

  /** @param elements the most that an array has */
  constructor(elements: number) {
    this.#elements = elements;
  }

  /** An array of the same type; it is good until the next call. */
  like(model: NumberArray | null, length: number): NumberArray {
    const type = (model ?? new Float32Array()).constructor as unknown as ArrayType;
    this.#memory ??= this.#allocate();
    return this.#memory instanceof SharedArrayBuffer
      ? new type(this.#memory, 0, length)
      : this.#memory.view(type, length);
  }

  free(): void {
    if (this.#memory !== null && !(this.#memory instanceof SharedArrayBuffer)) this.#memory.free();
    this.#memory = null;
  }

  #allocate(): Allocation | SharedArrayBuffer {
    const bytes = MOST_BYTES * this.#elements;
    return (
      availableRuntime()?.allocateFloat32(Math.ceil(bytes / 4)) ?? new SharedArrayBuffer(bytes)
    );
  }
}
