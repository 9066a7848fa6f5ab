/** Memory that kernels work on, and allocation in it: our own (arena.ts), or that of another program (foreign-heap.ts). */
import { Allocation } from "./allocation.js";
import type { GrowingMemory } from "./allocation.js";
import type { WasmMemory } from "./wasm-memory.js";

/** Every allocation starts at a cache line and is rounded up to whole ones. */
export const ALIGNMENT = 64;

export abstract class Heap implements GrowingMemory {
  readonly memory: WasmMemory;
  /** Threads can work on it, and its views outlive its growth. */
  readonly isShared: boolean;
  #isPinned = false;

  constructor(memory: WasmMemory) {
    this.memory = memory;
    // By name: pages that are not cross-origin isolated have shared memory, and no global SharedArrayBuffer.
    this.isShared = Object.prototype.toString.call(memory.buffer) === "[object SharedArrayBuffer]";
  }

  abstract get buffer(): ArrayBufferLike;

  /**
   * Whether an array lies in this memory as it is now, so that its byteOffset is its address. It says nothing of who
   * owns the bytes.
   */
  abstract holds(array: Float32Array | Uint8Array): boolean;

  /** @returns the address of so many bytes, a multiple of 64 and not 0, or null when there is no room */
  protected abstract take(bytes: number): number | null;
  /** @throws Error for an address that {@link take} did not return */
  protected abstract giveBack(address: number): void;

  /** Zeroed bytes, or null when there is no room. */
  allocate(bytes: number): Allocation | null {
    if (this.#isPinned) throw new Error("kernels' memory: expected no allocation during a pass");
    const size = Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
    const address = this.take(size);
    if (address === null) return null;
    const allocation = new Allocation(
      this,
      (start) => {
        this.giveBack(start);
      },
      { address, bytes: size },
    );
    allocation.view(Uint8Array, size).fill(0);
    return allocation;
  }

  /** Runs a pass, which holds views: unshared memory must not grow, so nothing may be allocated in it. */
  pinned<Result>(pass: () => Result): Result {
    const wasPinned = this.#isPinned;
    this.#isPinned = !this.isShared;
    try {
      return pass();
    } finally {
      this.#isPinned = wasPinned;
    }
  }
}

/** @throws RangeError when the memory can't grow enough */
export function allocateOrThrow(heap: Heap, bytes: number): Allocation {
  const allocation = heap.allocate(bytes);
  if (allocation === null) {
    throw new RangeError(
      `kernels' memory: expected room for ${String(bytes)} bytes, got a full memory`,
    );
  }
  return allocation;
}
