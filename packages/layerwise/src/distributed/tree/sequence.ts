/** Several arrays as one sequence of elements. */
import type { NumberArray, Sequence } from "../collective.js";

/** Elements from `begin` up to `end` of a sequence. */
export interface Range {
  readonly begin: number;
  readonly end: number;
}

/** Arrays of one type, one after the other. */
export class ArraySequence<Numbers extends NumberArray> {
  readonly length: number;
  readonly #arrays: readonly Numbers[];
  /** Where each array begins, and the end of the last. */
  readonly #starts: readonly number[];

  /** @throws TypeError for arrays of different types */
  constructor(values: Sequence<Numbers>) {
    this.#arrays = Array.isArray(values) ? (values as readonly Numbers[]) : [values as Numbers];
    const [first] = this.#arrays;
    const starts = [0];
    for (const array of this.#arrays) {
      if (array.constructor !== first!.constructor) {
        throw new TypeError(
          `values: expected arrays of one type, got ${first!.constructor.name} and ${array.constructor.name}`,
        );
      }
      starts.push(starts.at(-1)! + array.length);
    }
    this.#starts = starts;
    this.length = starts.at(-1)!;
  }

  /** An array of the sequence's type; null when there are no arrays. */
  get first(): Numbers | null {
    return this.#arrays[0] ?? null;
  }

  /** The parts of arrays that a range consists of; arrays without elements are left out. */
  views({ begin, end }: Range): Numbers[] {
    const views: Numbers[] = [];
    for (let index = this.#arrayAt(begin); index < this.#arrays.length; index++) {
      const start = this.#starts[index]!;
      if (start >= end) break;
      const array = this.#arrays[index]!;
      const [from, to] = [Math.max(begin - start, 0), Math.min(end - start, array.length)];
      if (from < to) views.push(array.subarray(from, to) as Numbers);
    }
    return views;
  }

  /** The last array that begins at or before a place. */
  #arrayAt(place: number): number {
    let [low, high] = [0, this.#arrays.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle]! <= place) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** Cuts ranges into blocks of at most so many elements; a block may hold the end of one range and the start of the next. */
export function blocksOf(ranges: readonly Range[], most: number): Range[][] {
  const blocks: Range[][] = [];
  let block: Range[] = [];
  let room = most;
  for (const { begin, end } of ranges) {
    for (let at = begin; at < end;) {
      const until = Math.min(end, at + room);
      block.push({ begin: at, end: until });
      room -= until - at;
      at = until;
      if (room > 0) continue;
      blocks.push(block);
      [block, room] = [[], most];
    }
  }
  if (block.length > 0) blocks.push(block);
  return blocks;
}

/** Where each part of a sequence lies. */
export function rangesOf(counts: readonly number[]): Range[] {
  let end = 0;
  return counts.map((count) => {
    const begin = end;
    end += count;
    return { begin, end };
  });
}

/** Parts whose lengths differ by one element at most. */
export function evenCounts(length: number, parts: number): number[] {
  return Array.from(
    { length: parts },
    (_, part) => Math.floor(((part + 1) * length) / parts) - Math.floor((part * length) / parts),
  );
}
