/**
 * The free ranges of a memory, neighbors joined. Both operations take constant time, whatever the number of ranges:
 * ranges are found by their ends, and kept in one bin for each power of two, as in TLSF (Masmano et al. 2004).
 */
export class FreeRanges {
  readonly #endOf = new Map<number, number>();
  readonly #startOf = new Map<number, number>();
  /** Starts of the ranges with 2^i up to 2^(i+1) bytes. */
  readonly #bins: Set<number>[] = Array.from({ length: 32 }, () => new Set());

  /** Bytes in all ranges together. */
  total = 0;

  /** Adds a range that overlaps no other. */
  add(start: number, end: number): void {
    this.total += end - start;
    const before = this.#startOf.get(start);
    const after = this.#endOf.get(end);
    if (before !== undefined) this.#remove(before, start);
    if (after !== undefined) this.#remove(end, after);
    this.#insert(before ?? start, after ?? end);
  }

  /** Takes so many bytes, or returns null when no range has them. */
  take(bytes: number): number | null {
    const start = this.#find(bytes);
    if (start === undefined) return null;
    const end = this.#endOf.get(start)!;
    this.#remove(start, end);
    if (start + bytes < end) this.#insert(start + bytes, end);
    this.total -= bytes;
    return start;
  }

  /** The start of the free range that ends there, if there is one. */
  startOf(end: number): number | undefined {
    return this.#startOf.get(end);
  }

  /** A few ranges of the bin that the size belongs to may be too small; any of the next bins will do. */
  #find(bytes: number): number | undefined {
    const first = binOf(bytes);
    let tries = 0;
    for (const start of this.#bins[first]!) {
      if (this.#endOf.get(start)! - start >= bytes) return start;
      if (++tries === MOST_TRIES) break;
    }
    for (let bin = first + 1; bin < this.#bins.length; bin++) {
      for (const start of this.#bins[bin]!) return start;
    }
    // Nothing larger is left: before the memory grows or is called full, the rest of the bin is worth a look.
    for (const start of this.#bins[first]!) {
      if (this.#endOf.get(start)! - start >= bytes) return start;
    }
    return undefined;
  }

  #insert(start: number, end: number): void {
    this.#endOf.set(start, end);
    this.#startOf.set(end, start);
    this.#bins[binOf(end - start)]!.add(start);
  }

  #remove(start: number, end: number): void {
    this.#endOf.delete(start);
    this.#startOf.delete(end);
    this.#bins[binOf(end - start)]!.delete(start);
  }
}

const MOST_TRIES = 16;

function binOf(bytes: number): number {
  return 31 - Math.clz32(bytes);
}
