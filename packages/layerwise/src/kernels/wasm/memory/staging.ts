/**
 * Staging for arrays outside a memory: a batch of chunks at a time is copied into a bank that stays in
 * the cache, processed, and copied back if it was written. With two banks, helpers work on one while the
 * caller, the only thread that can reach the arrays, copies the other.
 */
import { BLOCK_SIZE } from "../../../state/codebook.js";
import type { Momentum } from "../../../state/momentum.js";
import { CHUNK_SIZE } from "../../kernel.js";
import type { KernelTask, LayerArrays } from "../../kernel.js";
import type { Addresses, Pass, PlacedTask } from "../job.js";
import type { Allocation } from "./allocation.js";
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
  const { weights, gradient, momentum } = task.arrays;
  if (!heap.holds(weights) || !heap.holds(gradient)) return null;
  const stored = momentum === null ? NOWHERE : addressesOfMomentum(momentum, heap);
  if (stored === null) return null;
  return {
    task,
    addresses: {
      weights: weights.byteOffset,
      gradient: gradient.byteOffset,
      momentum: stored.momentum,
      absmax: stored.absmax,
    },
    size: weights.length,
    isCopied: false,
    continues: false,
  };
}

type MomentumAddresses = Pick<Addresses, "momentum" | "absmax">;

const NOWHERE: MomentumAddresses = { momentum: 0, absmax: 0 };

function addressesOfMomentum(momentum: Momentum, heap: Heap): MomentumAddresses | null {
  if (momentum.kind === "float32") {
    const { values } = momentum;
    return heap.holds(values) ? { momentum: values.byteOffset, absmax: 0 } : null;
  }
  const { codes, absmax } = momentum;
  if (!heap.holds(codes) || !heap.holds(absmax)) return null;
  return { momentum: codes.byteOffset, absmax: absmax.byteOffset };
}

/** Whether any array of a task lies in a memory. */
export function touches({ arrays }: KernelTask, heap: Heap): boolean {
  const { weights, gradient, momentum } = arrays;
  return (
    heap.holds(weights) ||
    heap.holds(gradient) ||
    (momentum !== null &&
      heap.holds(momentum.kind === "float32" ? momentum.values : momentum.codes))
  );
}

/** Room for so many chunks of each array. */
export class Bank {
  readonly chunks: number;
  readonly #area: Allocation;
  readonly #at: number;

  /** @param at where the bank starts in the area: a multiple of 64 with {@link bankBytes} behind it */
  constructor(chunks: number, area: Allocation, at = 0) {
    this.chunks = chunks;
    this.#area = area;
    this.#at = at;
  }

  addressOf(part: Part): number {
    return this.#area.address + this.#offsetOf(part);
  }

  /** Memory of a part, seen as elements of the type that an array has. */
  view(part: Part, like: Float32Array | Uint8Array, length: number): Float32Array | Uint8Array {
    const offset = this.#offsetOf(part);
    return like instanceof Float32Array
      ? this.#area.view(Float32Array, length, offset)
      : this.#area.view(Uint8Array, length, offset);
  }

  #offsetOf(part: Part): number {
    const place = PLACES[part];
    return this.#at + place * this.chunks * CHUNK_SIZE * 4;
  }
}

/** The order of the parts in a bank; absmax comes last, since it is the shortest. */
const PLACES: Readonly<Record<Part, number>> = { weights: 0, gradient: 1, momentum: 2, absmax: 3 };

/** Bytes of a bank. */
export function bankBytes(chunks: number): number {
  return chunks * CHUNK_SIZE * 4 * 3 + (chunks * CHUNK_SIZE * 4) / BLOCK_SIZE;
}

/** A part of a layer in a bank. */
export interface Batch {
  /** The batch as a job takes it: one layer of the job for all its chunks. */
  readonly placed: PlacedTask;
  /** Copies back what a pass has written. */
  putBack(): void;
}

/** Copies a task's batches in, one with each call of `next`, into the banks in turn. */
export function* stagedBatches(
  task: KernelTask,
  pass: Pass,
  heap: Heap,
  banks: readonly Bank[],
): Generator<Batch> {
  const parts = partsOf(task.arrays).filter(({ part }) => needs(task, pass, part));
  const size = task.arrays.weights.length;
  for (let start = 0, turn = 0; start < size; turn = (turn + 1) % banks.length) {
    const bank = banks[turn]!;
    const range = { start, end: Math.min(start + bank.chunks * CHUNK_SIZE, size) };
    const addresses = bringIn(bank, parts, range, heap);
    yield {
      placed: { task, addresses, size: range.end - start, isCopied: true, continues: start > 0 },
      putBack: () => {
        if (pass === "apply") putBack(bank, parts, range, heap);
      },
    };
    start = range.end;
  }
}

/** Elements of a layer. */
interface ElementRange {
  readonly start: number;
  readonly end: number;
}

function bringIn(
  bank: Bank,
  parts: readonly PartArray[],
  { start, end }: ElementRange,
  heap: Heap,
): Addresses {
  const addresses = { weights: 0, gradient: 0, momentum: 0, absmax: 0 };
  for (const { part, array, stride } of parts) {
    const [from, to] = [start / stride, Math.ceil(end / stride)];
    if (heap.holds(array)) {
      addresses[part] = array.byteOffset + from * array.BYTES_PER_ELEMENT;
    } else {
      addresses[part] = bank.addressOf(part);
      bank.view(part, array, to - from).set(array.subarray(from, to));
    }
  }
  return addresses;
}

function putBack(
  bank: Bank,
  parts: readonly PartArray[],
  { start, end }: ElementRange,
  heap: Heap,
): void {
  for (const { part, array, stride } of parts) {
    if (part === "gradient" || heap.holds(array)) continue;
    const [from, to] = [start / stride, Math.ceil(end / stride)];
    array.set(bank.view(part, array, to - from), from);
  }
}
