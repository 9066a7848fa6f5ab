/**
 * A collective whose sums have a fixed order: with a power of two of processes, the balanced binary tree over ranks.
 *
 * Sums are made by recursive halving: process r exchanges with r ^ 1, then with r ^ 2, r ^ 4, …, each time half of what
 * it still has. Neighbours, which often share a machine, exchange the most. Parts come together by recursive doubling,
 * in the opposite order. Float32 addition is commutative and rounds once, so the bits depend on the tree alone.
 *
 * Source: Thakur, Rabenseifner, Gropp 2005, "Optimization of Collective Communication Operations in MPICH", 4.4 to 4.5.
 */
import { addArrays } from "../../optimizer/accumulate.js";
import { printError } from "../../warn.js";
import { shownRanks } from "../agreement.js";
import type { Collective, NumberArray, Sequence } from "../collective.js";
import { Scratch } from "./scratch.js";
import { ArraySequence, blocksOf, evenCounts, rangesOf } from "./sequence.js";
import type { Range } from "./sequence.js";
import type { Transport } from "./transport.js";

export interface TreeOptions {
  /**
   * "tree": the fixed order. "library": the order that the MPI library prefers, which may depend on the number of
   * processes and on the library. Default "tree".
   */
  readonly order?: "tree" | "library";
  /** Elements that are exchanged at a time. Default 2^18, 1 MiB of float32: what fits a core's cache. */
  readonly blockElements?: number;
}

const BLOCK_ELEMENTS = 2 ** 18;

/** A collective call, as processes compare it before they make it. */
const CALLS = ["barrier", "broadcast", "allReduce", "reduceScatter", "allGather"] as const;
type Call = (typeof CALLS)[number];

/**
 * What processes tell each other before a call: the call, its elements, their size, a hash of counts or root, whether sums
 * are made in the tree, and the elements of a block. The last two come from options; where they differ, one process would
 * wait for messages that the other never sends.
 */
const WORDS = 6;
/** The call of a process whose arguments are wrong. */
const REFUSED = -1;

/** @param transport carries the messages; the collective owns it */
export function treeCollective(transport: Transport, options: TreeOptions = {}): Collective {
  return new TreeCollective(transport, options);
}

class TreeCollective implements Collective {
  readonly rank: number;
  readonly size: number;
  readonly name: string;
  readonly #transport: Transport;
  readonly #isTree: boolean;
  readonly #block: number;
  readonly #sent: Scratch;
  readonly #received: Scratch;
  readonly #told: Float64Array;
  readonly #own: Float64Array;

  constructor(transport: Transport, { order, blockElements = BLOCK_ELEMENTS }: TreeOptions) {
    this.rank = transport.rank;
    this.size = transport.size;
    this.name = transport.name;
    this.#transport = transport;
    this.#isTree = order !== "library" && isPowerOfTwo(this.size);
    this.#block = blockElements;
    this.#sent = new Scratch(blockElements);
    this.#received = new Scratch(blockElements);
    this.#told = new Float64Array(WORDS * this.size);
    this.#own = new Float64Array(WORDS);
  }

  barrier(): void {
    this.#agree("barrier", () => [0, 0, 0]);
    this.#transport.barrier();
  }

  broadcast(values: Sequence<NumberArray>, root = 0): void {
    const sequence = this.#sequence("broadcast", values, () => {
      if (!Number.isInteger(root) || root < 0 || root >= this.size) {
        throw new RangeError(`root: expected a rank from 0 to ${this.size - 1}, got ${root}`);
      }
      return root;
    });
    if (this.size === 1) return;
    for (const block of blocksOf([{ begin: 0, end: sequence.length }], this.#block)) {
      const message = this.#message(sequence, block, this.#sent, this.rank === root);
      this.#transport.broadcast(message.array, root);
      if (this.rank !== root) message.spread();
    }
  }

  allReduce(values: Sequence<Float32Array>): void {
    const sequence = this.#sequence("allReduce", values, () => 0);
    if (this.size === 1) return;
    if (!this.#isTree) {
      this.#reduceByLibrary(sequence);
      return;
    }
    const parts = rangesOf(evenCounts(sequence.length, this.size));
    this.#halve(sequence, parts);
    this.#double(sequence, parts);
  }

  reduceScatter(values: Sequence<Float32Array>, counts: readonly number[]): void {
    const sequence = this.#sequence("reduceScatter", values, (length) =>
      this.#hashOfCounts(counts, length),
    );
    if (this.size === 1) return;
    if (this.#isTree) this.#halve(sequence, rangesOf(counts));
    else this.#reduceByLibrary(sequence);
  }

  allGather(values: Sequence<NumberArray>, counts: readonly number[]): void {
    const sequence = this.#sequence("allGather", values, (length) =>
      this.#hashOfCounts(counts, length),
    );
    if (this.size === 1) return;
    const parts = rangesOf(counts);
    if (isPowerOfTwo(this.size)) this.#double(sequence, parts);
    else this.#passRound(sequence, parts);
  }

  abort(message: string): never {
    printError(`rank ${this.rank} of ${this.size}: ${message}`);
    return this.#transport.abort(1);
  }

  finalize(): void {
    this.#sent.free();
    this.#received.free();
    this.#transport.finalize();
  }

  /** Recursive halving: afterwards each process has the sums of its own part. */
  #halve(sequence: ArraySequence<Float32Array>, parts: readonly Range[]): void {
    for (let distance = 1; distance < this.size; distance *= 2) {
      const partner = this.rank ^ distance;
      this.#exchange(sequence, partner, {
        sent: partsLike(parts, partner, 2 * distance),
        received: partsLike(parts, this.rank, 2 * distance),
        isSum: true,
      });
    }
  }

  /** Recursive doubling: afterwards each process has all parts. */
  #double(sequence: ArraySequence<NumberArray>, parts: readonly Range[]): void {
    for (let distance = this.size / 2; distance >= 1; distance /= 2) {
      const partner = this.rank ^ distance;
      this.#exchange(sequence, partner, {
        sent: partsLike(parts, this.rank, 2 * distance),
        received: partsLike(parts, partner, 2 * distance),
        isSum: false,
      });
    }
  }

  /** Each process hands on what it got last: for numbers of processes that are no power of two. */
  #passRound(sequence: ArraySequence<NumberArray>, parts: readonly Range[]): void {
    const { rank, size } = this;
    for (let step = 0; step < size - 1; step++) {
      const sent = blocksOf([parts[(rank - step + size) % size]!], this.#block);
      const received = blocksOf([parts[(rank - step - 1 + size) % size]!], this.#block);
      // Every process makes as many calls as the longest part has blocks: who sends also receives.
      const calls = Math.max(
        ...parts.map(({ begin, end }) => Math.ceil((end - begin) / this.#block)),
      );
      for (let call = 0; call < calls; call++) {
        const out = this.#message(sequence, sent[call] ?? [], this.#sent, true);
        const into = this.#message(sequence, received[call] ?? [], this.#received, false);
        this.#transport.exchange(
          { array: out.array, to: (rank + 1) % size },
          { array: into.array, from: (rank - 1 + size) % size },
        );
        into.spread();
      }
    }
  }

  /** Sends ranges to a partner and receives others of his, block by block. */
  #exchange(
    sequence: ArraySequence<NumberArray>,
    partner: number,
    ranges: { sent: readonly Range[]; received: readonly Range[]; isSum: boolean },
  ): void {
    const sent = blocksOf(ranges.sent, this.#block);
    const received = blocksOf(ranges.received, this.#block);
    for (let index = 0; index < Math.max(sent.length, received.length); index++) {
      const out = this.#message(sequence, sent[index] ?? [], this.#sent, true);
      const block = received[index] ?? [];
      const into = ranges.isSum
        ? this.#addends(sequence as ArraySequence<Float32Array>, block)
        : this.#message(sequence, block, this.#received, false);
      this.#transport.exchange(
        { array: out.array, to: partner },
        { array: into.array, from: partner },
      );
      into.spread();
    }
  }

  /**
   * A block as one array: where it lies, if that is one piece, else in scratch memory.
   *
   * @param isFilled whether the block's values are put into the array
   * @returns the array, and what puts its values back into the block
   */
  #message(
    sequence: ArraySequence<NumberArray>,
    block: readonly Range[],
    scratch: Scratch,
    isFilled: boolean,
  ): { array: NumberArray; spread: () => void } {
    const views = block.flatMap((range) => sequence.views(range));
    if (views.length === 1) return { array: views[0]!, spread: () => undefined };
    const array = scratch.like(sequence.first, lengthOf(views));
    let at = 0;
    for (const view of isFilled ? views : []) {
      array.set(view, at);
      at += view.length;
    }
    const spread = (): void => {
      forEachPart(views, array, (view, part) => {
        view.set(part);
      });
    };
    return { array, spread };
  }

  /** Scratch memory for values that are added to a block. */
  #addends(
    sequence: ArraySequence<Float32Array>,
    block: readonly Range[],
  ): { array: NumberArray; spread: () => void } {
    const views = block.flatMap((range) => sequence.views(range));
    const array = this.#received.like(sequence.first, lengthOf(views));
    const spread = (): void => {
      const sums: { sum: Float32Array; addend: Float32Array }[] = [];
      forEachPart(views, array, (sum, part) => {
        sums.push({ sum, addend: part as Float32Array });
      });
      if (sums.length > 0) addArrays(sums);
    };
    return { array, spread };
  }

  #reduceByLibrary(sequence: ArraySequence<Float32Array>): void {
    for (const block of blocksOf([{ begin: 0, end: sequence.length }], this.#block)) {
      const message = this.#message(sequence, block, this.#sent, true);
      this.#transport.allReduce(message.array as Float32Array);
      message.spread();
    }
  }

  /**
   * The values of a call, agreed on by all processes.
   *
   * @param detail a number that must be alike too; what it throws is thrown everywhere
   */
  #sequence<Numbers extends NumberArray>(
    call: Call,
    values: Sequence<Numbers>,
    detail: (length: number) => number,
  ): ArraySequence<Numbers> {
    let sequence: ArraySequence<Numbers> | undefined;
    this.#agree(call, () => {
      sequence = new ArraySequence(values);
      return [sequence.length, sequence.first?.BYTES_PER_ELEMENT ?? 0, detail(sequence.length)];
    });
    return sequence!;
  }

  /**
   * Compares a call over all processes, so that none waits for a message that never comes.
   *
   * @throws on every process when one has wrong arguments, or calls or lengths differ
   */
  #agree(call: Call, describe: () => [elements: number, bytes: number, detail: number]): void {
    let error: unknown = null;
    const own = this.#own;
    try {
      own.set([CALLS.indexOf(call), ...describe(), Number(this.#isTree), this.#block]);
    } catch (thrown) {
      error = thrown;
      own.fill(0);
      own[0] = REFUSED;
    }
    const told = this.#told;
    if (this.size > 1) this.#transport.allGather(own, told);
    else told.set(own);
    if (error !== null) throw error as Error;
    for (let rank = 0; rank < this.size; rank++) {
      for (let word = 0; word < WORDS; word++) {
        if (told[WORDS * rank + word] !== own[word]) throw new RangeError(difference(call, told));
      }
    }
  }

  #hashOfCounts(counts: readonly number[], length: number): number {
    const total = counts.reduce((sum, count) => sum + count, 0);
    const areCounts = counts.every((count) => Number.isInteger(count) && count >= 0);
    if (counts.length !== this.size || total !== length || !areCounts) {
      throw new RangeError(
        `counts: expected ${this.size} whole numbers, one for each process, of together ${length} elements, got [${counts.join(", ")}]`,
      );
    }
    return counts.reduce((hash, count) => Math.imul(hash ^ count, 0x01000193) >>> 0, 0x811c9dc5);
  }
}

/** "expected the same call on all ranks, got allReduce of 5 elements on rank 0, allReduce of 6 elements on rank 1". */
function difference(call: Call, told: Float64Array): string {
  const ranks = new Map<string, number[]>();
  for (let rank = 0; rank * WORDS < told.length; rank++) {
    const words = told.subarray(WORDS * rank, WORDS * (rank + 1));
    const [number, elements, bytes, detail, isTree, block] = words;
    const text =
      number === REFUSED
        ? "wrong arguments"
        : `${CALLS[number!]!} of ${elements!} elements of ${bytes!} bytes (parts or root: ${detail!}; order ${isTree === 1 ? "tree" : "library"}, blocks of ${block!})`;
    ranks.set(text, [...(ranks.get(text) ?? []), rank]);
  }
  const list = [...ranks].map(([text, of]) => `${text} on ${shownRanks(of)}`);
  return `${call}: expected the same call on all ranks, got ${list.join(", ")}`;
}

/** The parts of processes whose numbers leave the same remainder as one's own. */
function partsLike(parts: readonly Range[], rank: number, modulus: number): Range[] {
  return parts.filter((_, part) => part % modulus === rank % modulus);
}

function lengthOf(views: readonly NumberArray[]): number {
  return views.reduce((sum, { length }) => sum + length, 0);
}

/** Views beside the parts of an array that belong to them. */
function forEachPart<Numbers extends NumberArray>(
  views: readonly Numbers[],
  array: NumberArray,
  visit: (view: Numbers, part: NumberArray) => void,
): void {
  let at = 0;
  for (const view of views) {
    visit(view, array.subarray(at, at + view.length));
    at += view.length;
  }
}

function isPowerOfTwo(count: number): boolean {
  return Number.isInteger(Math.log2(count));
}
