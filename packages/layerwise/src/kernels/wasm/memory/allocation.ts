/** A part of a heap that has an owner. */

/** A memory that may grow. */
export interface GrowingMemory {
  /** The bytes of the memory as it is now; do not keep it. */
  readonly buffer: ArrayBufferLike;
}

interface ArrayType<A> {
  new (buffer: ArrayBufferLike, offset: number, length: number): A;
  /** 1 for a DataView, which has none. */
  readonly BYTES_PER_ELEMENT?: number;
}

/**
 * Bytes of a heap, which their owner frees once. Take a view when you need it, and do not keep it across anything
 * that may allocate, because growth detaches views of unshared memory.
 */
export class Allocation {
  readonly memory: GrowingMemory;
  readonly #free: (address: number) => void;
  readonly address: number;
  readonly bytes: number;
  #isFreed = false;

  /** @internal Heaps make them. */
  constructor(
    memory: GrowingMemory,
    free: (address: number) => void,
    range: { address: number; bytes: number },
  ) {
    this.memory = memory;
    this.#free = free;
    this.address = range.address;
    this.bytes = range.bytes;
  }

  /**
   * The bytes as they are now.
   *
   * @param offset in bytes from the start
   * @throws Error when they were freed; RangeError beyond the end
   */
  view<A>(type: ArrayType<A>, length: number, offset = 0): A {
    if (this.#isFreed) throw new Error("kernels' memory: expected memory in use, got freed memory");
    if (offset + length * (type.BYTES_PER_ELEMENT ?? 1) > this.bytes) {
      throw new RangeError(
        `kernels' memory: expected a view of at most ${String(this.bytes)} bytes, got ${String(length)} elements from ${String(offset)}`,
      );
    }
    return new type(this.memory.buffer, this.address + offset, length);
  }

  /** @throws Error when it was freed before */
  free(): void {
    if (this.#isFreed) throw new Error("kernels' memory: expected memory in use, got freed memory");
    this.#isFreed = true;
    this.#free(this.address);
  }
}

/** An array in an allocation. It keeps its view while the memory's buffer is the same, and takes a new one after growth. */
export class HeapArray<A extends ArrayBufferView> {
  readonly #memory: GrowingMemory;
  readonly #take: () => A;
  #view: A;

  /** @param take makes the view: of an allocation in the memory */
  constructor(memory: GrowingMemory, take: () => A) {
    this.#memory = memory;
    this.#take = take;
    this.#view = take();
  }

  get view(): A {
    if (this.#view.buffer !== this.#memory.buffer) this.#view = this.#take();
    return this.#view;
  }
}
