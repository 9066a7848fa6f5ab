/**
 * The order in which the gradients of a batch's micro-batches are added up: a balanced binary tree. Float32 sums depend
 * on their order; this one does not depend on who adds, so one process and many make the same bits.
 *
 * The tree has a power of two of places. Micro-batch i stands at the place whose bits are those of i reversed, so that
 * every subtree has as many micro-batches as another, or one more or less. A place without a micro-batch adds nothing.
 */

/** One process of several. */
export interface Share {
  /** Of this process, from 0. */
  readonly rank: number;
  /** Processes. */
  readonly size: number;
}

/** The micro-batch at each place of one process's subtree, from left to right; null: none. */
export function ownPlaces(microBatches: number, { rank, size }: Share): (number | null)[] {
  const bits = depthOf(Math.max(microBatches, size));
  const places = 2 ** bits;
  const begin = Math.floor((rank * places) / size);
  const end = Math.floor(((rank + 1) * places) / size);
  return Array.from({ length: end - begin }, (_, index) => {
    const microBatch = bitsReversed(begin + index, bits);
    return microBatch < microBatches ? microBatch : null;
  });
}

/** Levels of additions of a tree with so many places, rounded up to a power of two: the most sums that wait at a time. */
export function depthOf(places: number): number {
  return Math.ceil(Math.log2(places));
}

/** The number whose binary digits are those of another, read backwards: 1 of 3 bits → 4. */
function bitsReversed(value: number, bits: number): number {
  let reversed = 0;
  for (let bit = 0; bit < bits; bit++) reversed |= ((value >> bit) & 1) << (bits - 1 - bit);
  return reversed;
}

/**
 * Adds up the places of a subtree as they come, from left to right. It keeps one sum a level, as binary counting keeps
 * one digit, so memory grows with the depth of the tree only.
 */
export class PartialSums<Part> {
  readonly #add: (sum: Part, part: Part) => void;
  /** Sums of subtrees that wait for their right neighbour, largest first. */
  readonly #waiting: (Part | null)[] = [];
  #places = 0;

  /** @param add adds `part` to `sum`; nobody needs `part` afterwards */
  constructor(add: (sum: Part, part: Part) => void) {
    this.#add = add;
  }

  /** Takes the next place; null: an empty one. */
  push(part: Part | null): void {
    this.#waiting.push(part);
    this.#places++;
    for (let places = this.#places; places % 2 === 0; places /= 2) this.#join();
  }

  /** The sum of all places; null if all are empty. */
  finish(): Part | null {
    // More than one waits only where the places are no power of two.
    while (this.#waiting.length > 1) this.#join();
    return this.#waiting[0] ?? null;
  }

  #join(): void {
    const right = this.#waiting.pop() ?? null;
    const left = this.#waiting.pop() ?? null;
    if (left !== null && right !== null) this.#add(left, right);
    this.#waiting.push(left ?? right);
  }
}
