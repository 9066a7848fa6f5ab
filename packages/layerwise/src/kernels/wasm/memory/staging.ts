/**
 * The way in and out for arrays outside a memory: a batch of chunks at a time is copied into a bank that stays in
 * the cache, worked on, and copied back if it was written. With two banks, helpers can be at one while the
 * caller, who alone can reach the arrays, copies the other.
 */
import { BLOCK_SIZE } from "../../../state/codebook.js";
import { CHUNK_SIZE } from "../../kernel.js";
import type { KernelTask, LayerArrays } from "../../kernel.js";
import type { Addresses, Pass, PlacedTask } from "../job.js";
import { allocateOrThrow } from "./heap.js";
import type { Heap } from "./heap.js";

/** Chunks of a batch that threads work on together: more than they are woken for, few enough for the cache. */
export const MOST_CHUNKS = 8;

type Part = keyof Addresses;

/** One of a layer's arrays, and how many elements of the layer each of its elements stands for. */
interface PartArray {
  readonly part: Part;
  readonly array: Float32Array | Uint8Array;
  readonly stride: number;
}

/** The arrays of a layer, one by one. */
function partsOf({ weights, gradient, momentum }: LayerArrays): PartArray[] {
  const parts: PartArray[] = [
    { part: "weights", array: weights, stride: 1 },
    { part: "gradient", array: gradient, stride: 1 },
  ];
  if (momentum?.kind === "float32") {
    parts.push({ part: "momentum", array: momentum.values, stride: 1 });
  } else if (momentum?.kind === "blockwise") {
    parts.push({ part: "momentum", array: momentum.codes, stride: 1 });
    parts.push({ part: "absmax", array: momentum.absmax, stride: BLOCK_SIZE });
  }
  return parts;
}

/** Whether a pass reads or writes an array of a layer. */
function needs({ sums, equation }: KernelTask, pass: Pass, part: Part): boolean {
  if (pass === "apply" || part === "gradient") return true;
  return part === "weights" ? sums.weights || sums.update : sums.update && equation.decay !== 0;
}

/** A task as a job takes it, if all its arrays lie in the kernels' memory, else null. */
export function placedWhole(task: KernelTask, heap: Heap): PlacedTask | null {
  const parts = partsOf(task.arrays);
  if (!parts.every(({ array }) => heap.owns(array))) return null;
  const addresses: Record<Part, number> = { weights: 0, gradient: 0, momentum: 0, absmax: 0 };
  for (const { part, array } of parts) addresses[part] = array.byteOffset;
  return { task, addresses, size: task.arrays.weights.length, isCopied: false };
}

/** Whether any array of a task lies in a memory. */
export function touches({ arrays }: KernelTask, heap: Heap): boolean {
  const { weights, gradient, momentum } = arrays;
  return (
    heap.owns(weights) ||
    heap.owns(gradient) ||
    (momentum !== null && heap.owns(momentum.kind === "float32" ? momentum.values : momentum.codes))
  );
}

/** Room for so many chunks of each array. */
interface Bank {
  readonly chunks: number;
  readonly addresses: Addresses;
}

/** A part of a layer in a bank. */
export interface Batch {
  /** The batch as a job takes it: one layer of the job for all its chunks. */
  readonly placed: PlacedTask;
  /** Copies back what a pass has written. */
  putBack(): void;
}

export class Staging {
  readonly #heap: Heap;
  readonly #banks: Bank[] = [];

  constructor(heap: Heap) {
    this.#heap = heap;
  }

  /**
   * Copies the task's batches in, one with each call of `next`, into the banks in turn.
   *
   * @param chunks chunks a batch
   * @param banks 1 or 2
   */
  *batches(task: KernelTask, pass: Pass, chunks: number, banks: 1 | 2): Generator<Batch> {
    const parts = partsOf(task.arrays).filter(({ part }) => needs(task, pass, part));
    const size = task.arrays.weights.length;
    const step = chunks * CHUNK_SIZE;
    for (let start = 0, turn = 0; start < size; start += step, turn = (turn + 1) % banks) {
      const end = Math.min(start + step, size);
      const bank = this.#bank(turn, chunks);
      const addresses = this.#bringIn(bank, parts, start, end);
      yield {
        placed: { task, addresses, size: end - start, isCopied: true },
        putBack: () => {
          if (pass === "apply") this.#putBack(bank, parts, start, end);
        },
      };
    }
  }

  #bank(turn: number, chunks: number): Addresses {
    const known = this.#banks[turn];
    if (known !== undefined && known.chunks >= chunks) return known.addresses;
    for (const address of Object.values(known?.addresses ?? {})) this.#heap.free(address as number);
    const addresses = this.#allocateBank(chunks * CHUNK_SIZE);
    this.#banks[turn] = { chunks, addresses };
    return addresses;
  }

  #allocateBank(size: number): Addresses {
    const place = (elements: number): number => allocateOrThrow(this.#heap, elements * 4);
    return {
      weights: place(size),
      gradient: place(size),
      momentum: place(size),
      absmax: place(size / BLOCK_SIZE),
    };
  }

  #bringIn(bank: Addresses, parts: readonly PartArray[], start: number, end: number): Addresses {
    const addresses = { weights: 0, gradient: 0, momentum: 0, absmax: 0 };
    for (const { part, array, stride } of parts) {
      const [from, to] = [start / stride, Math.ceil(end / stride)];
      if (this.#heap.owns(array)) {
        addresses[part] = array.byteOffset + from * array.BYTES_PER_ELEMENT;
      } else {
        addresses[part] = bank[part];
        this.#view(bank[part], array, to - from).set(array.subarray(from, to));
      }
    }
    return addresses;
  }

  #putBack(bank: Addresses, parts: readonly PartArray[], start: number, end: number): void {
    for (const { part, array, stride } of parts) {
      if (part === "gradient" || this.#heap.owns(array)) continue;
      const [from, to] = [start / stride, Math.ceil(end / stride)];
      array.set(this.#view(bank[part], array, to - from), from);
    }
  }

  /** Memory of a bank, seen as elements of the type that an array has. */
  #view(
    address: number,
    like: Float32Array | Uint8Array,
    length: number,
  ): Float32Array | Uint8Array {
    const { buffer } = this.#heap;
    return like instanceof Float32Array
      ? new Float32Array(buffer, address, length)
      : new Uint8Array(buffer, address, length);
  }
}
