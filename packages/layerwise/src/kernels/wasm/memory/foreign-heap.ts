/** The memory of another WebAssembly program, where kernels reach its arrays without a copy. */
import { ALIGNMENT, Heap } from "./heap.js";
import type { WasmMemory } from "./wasm-memory.js";

/** A memory, and the allocator of the program that it belongs to. */
export interface ForeignMemory {
  readonly memory: WasmMemory;
  /** @returns an address, or 0 when there is no room */
  malloc(bytes: number): number;
  free(address: number): void;
}

export class ForeignHeap extends Heap {
  readonly #owner: ForeignMemory;
  /** What the owner's allocator returned, by the aligned address in it. */
  readonly #blocks = new Map<number, number>();
  #buffer: ArrayBufferLike;

  constructor(owner: ForeignMemory) {
    super(owner.memory);
    this.#owner = owner;
    this.#buffer = owner.memory.buffer;
  }

  /** One object as long as the memory does not grow: engines may make others of shared memory at any time. */
  get buffer(): ArrayBufferLike {
    const { buffer } = this.memory;
    const isSame = this.isShared && buffer.byteLength === this.#buffer.byteLength;
    if (!isSame) this.#buffer = buffer;
    return this.#buffer;
  }

  /** Numbers of the other program, as an array that {@link holds} knows until the memory grows. */
  view(address: number, length: number): Float32Array {
    return new Float32Array(this.buffer, address, length);
  }

  holds(array: Float32Array | Uint8Array): boolean {
    return array.buffer === this.buffer;
  }

  protected take(bytes: number): number | null {
    // Above 2 GiB C's addresses look negative.
    const block = this.#owner.malloc(bytes + ALIGNMENT) >>> 0;
    if (block === 0) return null;
    const address = Math.ceil(block / ALIGNMENT) * ALIGNMENT;
    this.#blocks.set(address, block);
    return address;
  }

  protected giveBack(address: number): void {
    const block = this.#blocks.get(address);
    if (block === undefined) {
      throw new Error(
        `kernels' memory: expected the address of an allocation, got ${String(address)}`,
      );
    }
    this.#blocks.delete(address);
    this.#owner.free(block);
  }

  /** Makes room for so many bytes, so that allocating them moves nothing: growth would detach all views. */
  reserve(bytes: number): void {
    const block = this.#owner.malloc(bytes) >>> 0;
    if (block !== 0) this.#owner.free(block);
  }
}
