/** Allocation in a memory of our own, which grows as it is needed. */
import { FreeRanges } from "./free-ranges.js";
import { ALIGNMENT, Heap } from "./heap.js";
import type { WasmMemory } from "./wasm-memory.js";

const PAGE = 65536;

export class Arena extends Heap {
  readonly #maximumPages: number;
  readonly #free = new FreeRanges();
  readonly #sizes = new Map<number, number>();
  /** The buffers of a shared memory: each growth makes a new object over the same bytes, and views keep the old ones. */
  readonly #buffers = new WeakSet<ArrayBufferLike>();
  #newest: ArrayBufferLike;

  /** @param memory ours from its first byte to the last */
  constructor(memory: WasmMemory, maximumPages: number) {
    super(memory);
    this.#maximumPages = maximumPages;
    this.#newest = memory.buffer;
    this.#buffers.add(this.#newest);
    // Not from 0, which the kernels read as "no array".
    this.#free.add(ALIGNMENT, this.#newest.byteLength);
  }

  get buffer(): ArrayBufferLike {
    return this.#newest;
  }

  /** Bytes that are allocated now. */
  get used(): number {
    return this.#newest.byteLength - ALIGNMENT - this.#free.total;
  }

  holds({ buffer }: Float32Array | Uint8Array): boolean {
    return buffer === this.#newest || (this.isShared && this.#buffers.has(buffer));
  }

  protected take(bytes: number): number | null {
    const start = this.#free.take(bytes) ?? (this.#grow(bytes) ? this.#free.take(bytes) : null);
    if (start !== null) this.#sizes.set(start, bytes);
    return start;
  }

  protected giveBack(start: number): void {
    const size = this.#sizes.get(start);
    if (size === undefined) {
      throw new Error(
        `kernels' memory: expected the address of an allocation, got ${String(start)}`,
      );
    }
    this.#sizes.delete(start);
    this.#free.add(start, start + size);
  }

  /** Makes room at the end for so many bytes. */
  #grow(bytes: number): boolean {
    const end = this.#newest.byteLength;
    const missing = bytes - (end - (this.#free.startOf(end) ?? end));
    const pages = Math.ceil(missing / PAGE);
    if (end / PAGE + pages > this.#maximumPages) return false;
    try {
      this.memory.grow(pages);
    } catch {
      return false; // The machine has no more; callers go on outside this memory.
    }
    this.#newest = this.memory.buffer;
    this.#buffers.add(this.#newest);
    this.#free.add(end, this.#newest.byteLength);
    return true;
  }
}
