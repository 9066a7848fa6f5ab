/**
 * Allocation in the kernels' memory: first fit over a list of free ranges, neighbours joined again.
 *
 * The memory is shared where the platform has shared memory, on one thread too: only then do views of
 * it outlive its growth, and the arrays that users hold are such views.
 */

const PAGE = 65536;
/** Every allocation starts at a cache line and is rounded up to whole ones. */
const ALIGNMENT = 64;

interface Range {
  start: number;
  end: number;
}

export class Arena {
  readonly #memory: WebAssembly.Memory;
  readonly #maximumPages: number;
  /** Free ranges in ascending order; the last may be extended by growing the memory. */
  #free: Range[];
  readonly #sizes = new Map<number, number>();
  /** A grown shared memory gives new buffer objects over the same bytes; views keep the old ones. */
  readonly #buffers = new WeakSet<ArrayBufferLike>();

  /** @param heap where free memory begins; not 0, which the kernels read as "no array" */
  constructor(memory: WebAssembly.Memory, heap: number, maximumPages: number) {
    this.#memory = memory;
    this.#maximumPages = maximumPages;
    this.#free = [
      { start: Math.ceil(heap / ALIGNMENT) * ALIGNMENT, end: memory.buffer.byteLength },
    ];
    this.#buffers.add(memory.buffer);
  }

  /** The bytes of the memory as it is now; do not keep it. */
  get buffer(): ArrayBufferLike {
    return this.#memory.buffer;
  }

  /** Whether an array lies in this memory, so that its byteOffset is its address. */
  owns(array: Float32Array | Uint8Array): boolean {
    return this.#buffers.has(array.buffer);
  }

  /** @returns the address of zeroed bytes, or null when the memory can't grow enough */
  allocate(bytes: number): number | null {
    const size = Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
    const start = this.#take(size) ?? (this.#grow(size) ? this.#take(size) : null);
    if (start === null) return null;
    this.#sizes.set(start, size);
    new Uint8Array(this.#memory.buffer, start, size).fill(0);
    return start;
  }

  /** @throws RangeError when the memory can't grow enough */
  allocateOrThrow(bytes: number): number {
    const address = this.allocate(bytes);
    if (address === null) {
      throw new RangeError(`the kernels' memory is full: no room for ${String(bytes)} bytes`);
    }
    return address;
  }

  /** Gives back an address that {@link allocate} returned; others are left alone. */
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
    const end = this.#memory.buffer.byteLength;
    const last = this.#free.at(-1);
    const missing = size - (last?.end === end ? end - last.start : 0);
    const pages = Math.ceil(missing / PAGE);
    if (end / PAGE + pages > this.#maximumPages) return false;
    try {
      this.#memory.grow(pages);
    } catch {
      return false; // The machine has no more; callers go on outside this memory.
    }
    this.#buffers.add(this.#memory.buffer);
    this.#free.push({ start: end, end: this.#memory.buffer.byteLength });
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
