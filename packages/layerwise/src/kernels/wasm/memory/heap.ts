/** Memory that kernels work on, and allocation in it: our own (arena.ts), or that of another WebAssembly program. */
export interface Heap {
  readonly memory: WebAssembly.Memory;
  /** The bytes of the memory as it is now; do not keep it. */
  readonly buffer: ArrayBufferLike;
  /** Whether an array lies in this memory, so that its byteOffset is its address. */
  owns(array: Float32Array | Uint8Array): boolean;
  /** @returns the address of zeroed bytes, a multiple of 64 and not 0, or null when there is no room */
  allocate(bytes: number): number | null;
  /** Gives back what {@link allocate} returned; other addresses are left alone. */
  free(address: number): void;
}

/** @throws RangeError when the memory can't grow enough */
export function allocateOrThrow(heap: Heap, bytes: number): number {
  const address = heap.allocate(bytes);
  if (address === null) {
    throw new RangeError(`the kernels' memory is full: no room for ${String(bytes)} bytes`);
  }
  return address;
}

/** Threads can work on it, and its views outlive its growth. */
export function isShared({ buffer }: WebAssembly.Memory): boolean {
  // By name: pages that are not cross-origin isolated have shared memory, and no global SharedArrayBuffer.
  return Object.prototype.toString.call(buffer) === "[object SharedArrayBuffer]";
}

interface ArrayType<A> {
  new (buffer: ArrayBufferLike, offset: number, length: number): A;
  readonly BYTES_PER_ELEMENT: number;
}

/** An array in a heap. Its view is taken anew when the heap has grown, which detaches views of unshared memory. */
export class HeapArray<A extends Float32Array | Uint8Array> {
  readonly #heap: Heap;
  readonly #type: ArrayType<A>;
  readonly #address: number;
  readonly #length: number;
  #view: A;

  private constructor(heap: Heap, type: ArrayType<A>, address: number, length: number) {
    this.#heap = heap;
    this.#type = type;
    this.#address = address;
    this.#length = length;
    this.#view = new type(heap.buffer, address, length);
  }

  /** Zeros, or null when there is no room. */
  static allocate<A extends Float32Array | Uint8Array>(
    heap: Heap,
    type: ArrayType<A>,
    length: number,
  ): HeapArray<A> | null {
    const address = heap.allocate(length * type.BYTES_PER_ELEMENT);
    return address === null ? null : new HeapArray(heap, type, address, length);
  }

  get view(): A {
    const { buffer } = this.#heap;
    if (this.#view.buffer !== buffer) {
      this.#view = new this.#type(buffer, this.#address, this.#length);
    }
    return this.#view;
  }

  free(): void {
    this.#heap.free(this.#address);
  }
}
