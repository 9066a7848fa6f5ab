/** Allocation in a memory of our own: first fit over a list of free ranges, neighbours joined again. */
import type { Heap } from "./heap.js";

const PAGE = 65536;
/** Every allocation starts at a cache line and is rounded up to whole ones. */
const ALIGNMENT = 64;

interface Range {
  start: number;
  end: number;
}

export class Arena implements Heap {
  readonly memory: WebAssembly.Memory;
  readonly #maximumPages: number;
  /** Free ranges in ascending order; the last may be extended by growing the memory. */
  #free: Range[];
  readonly #sizes = new Map<number, number>();
  /** A grown shared memory gives new buffer objects over the same bytes; views keep the old ones. */
  readonly #buffers = new WeakSet<ArrayBufferLike>();
  #newest: ArrayBufferLike;

  /** @param memory ours from its first byte to the last */
  constructor(memory: WebAssembly.Memory, maximumPages: number) {
    this.memory = memory;
    this.#maximumPages = maximumPages;
    // Not from 0, which the kernels read as "no array".
    this.#free = [{ start: ALIGNMENT, end: memory.buffer.byteLength }];
    this.#newest = memory.buffer;
    this.#buffers.add(this.#newest);
  }

  get buffer(): ArrayBufferLike {
    return this.#newest;
  }

  owns(array: Float32Array | Uint8Array): boolean {
    const { buffer } = array;
    return buffer === this.#newest || this.#buffers.has(buffer);
  }

  allocate(bytes: number): number | null {
    const size = Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
    const start = this.#take(size) ?? (this.#grow(size) ? this.#take(size) : null);
    if (start === null) return null;
    this.#sizes.set(start, size);
    new Uint8Array(this.memory.buffer, start, size).fill(0);
    return start;
  }

  free(start: number): void {
    const size = this.#sizes.get(start);
    if (size === undefined) return;
    this.#sizes.delete(start);
    this.#free.push({ start, end: start + size });
    this.#free = joined(this.#free);
  }

  #take(size: number): number | null {
    const index = this.#free.findIndex((range) => range.end - range.start >= size);
    const range = this.#free[index];
    if (range === undefined) return null;
    const start = range.start;
    range.start += size;
    if (range.start === range.end) this.#free.splice(index, 1);
    return start;
  }

  #grow(size: number): boolean {
    const end = this.memory.buffer.byteLength;
    const last = this.#free.at(-1);
    const missing = size - (last?.end === end ? end - last.start : 0);
    const pages = Math.ceil(missing / PAGE);
    if (end / PAGE + pages > this.#maximumPages) return false;
    try {
      this.memory.grow(pages);
    } catch {
      return false; // The machine has no more; callers go on outside this memory.
    }
    this.#newest = this.memory.buffer;
    this.#buffers.add(this.#newest);
    this.#free.push({ start: end, end: this.#newest.byteLength });
    this.#free = joined(this.#free);
    return true;
  }
}

/** Ranges in ascending order, with those that touch made one. */
function joined(ranges: Range[]): Range[] {
  const result: Range[] = [];
  for (const range of ranges.sort((a, b) => a.start - b.start)) {
    const last = result.at(-1);
    if (last?.end === range.start) last.end = range.end;
    else result.push(range);
  }
  return result;
}
