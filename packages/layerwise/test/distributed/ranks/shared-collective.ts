/**
 * A job of threads, in the fewest words: every call copies into a box that all threads see, waits for the others, and
 * reads theirs. It says what a Collective means, and finds threads that make different calls or wait forever.
 */
import type { Collective, NumberArray, Sequence } from "../../../src/distributed/collective.js";

/** Longer calls fail: no test moves more. */
const BOX_BYTES = 4 << 20;
const CONTROL_BYTES = 64;
/** How long a thread waits for others that may share one core with it. */
const PATIENCE_MS = 30_000;

/** The memory of a job. */
export function sharedMemory(size: number): SharedArrayBuffer {
  return new SharedArrayBuffer(CONTROL_BYTES + size * BOX_BYTES);
}

function bytesOf({ buffer, byteOffset, byteLength }: NumberArray): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function arraysOf(values: Sequence<NumberArray>): readonly NumberArray[] {
  return Array.isArray(values) ? (values as NumberArray[]) : [values as NumberArray];
}

/** Arrays of one type, one after the other. */
function joined(arrays: readonly NumberArray[], length: number): NumberArray {
  const whole = new (arrays[0]!.constructor as new (length: number) => NumberArray)(length);
  let at = 0;
  for (const array of arrays) {
    whole.set(array, at);
    at += array.length;
  }
  return whole;
}

/** ((0 + 1) + (2 + 3)) + …; the odd one of three joins last. */
function treeSum(parts: readonly Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0]!;
  const half = Math.ceil(parts.length / 2);
  const left = treeSum(parts.slice(0, half));
  const right = treeSum(parts.slice(half));
  return left.map((value, index) => value + right[index]!);
}

/** One thread's place in the job. */
export class SharedCollective implements Collective {
  readonly name = "threads";
  readonly rank: number;
  readonly size: number;
  readonly #memory: SharedArrayBuffer;
  /** Threads that wait, the number of the wait, and whether a thread has ended the job. */
  readonly #control: Int32Array;
  /** The calls so far, without the barriers. */
  readonly calls: string[] = [];

  constructor(memory: SharedArrayBuffer, { rank, size }: { rank: number; size: number }) {
    this.#memory = memory;
    this.#control = new Int32Array(memory, 0, 3);
    this.rank = rank;
    this.size = size;
  }

  barrier(): void {
    this.#begin("barrier", 0);
  }

  broadcast(values: Sequence<NumberArray>, root = 0): void {
    this.calls.push("broadcast");
    for (const array of arraysOf(values)) {
      this.#begin("broadcast", array.byteLength);
      if (this.rank === root) this.#box(root).set(bytesOf(array));
      this.#wait();
      bytesOf(array).set(this.#box(root).subarray(0, array.byteLength));
      this.#wait();
    }
  }

  allReduce(values: Sequence<Float32Array>): void {
    this.calls.push("allReduce");
    this.#sum(arraysOf(values) as Float32Array[]);
  }

  #sum(arrays: readonly Float32Array[]): void {
    for (const array of arrays) {
      this.#begin("allReduce", array.length);
      this.#box(this.rank).set(bytesOf(array));
      this.#wait();
      const parts = this.#boxes.map(
        (box) => new Float32Array(box.slice(0, array.byteLength).buffer),
      );
      array.set(treeSum(parts));
      this.#wait();
    }
  }

  /** Parts of others are undefined: here they become NaN, so that nobody gets away with using them. */
  reduceScatter(values: Sequence<Float32Array>, counts: readonly number[]): void {
    this.calls.push("reduceScatter");
    const arrays = arraysOf(values) as Float32Array[];
    this.#sum(arrays);
    const begin = counts.slice(0, this.rank).reduce((sum, count) => sum + count, 0);
    const end = begin + counts[this.rank]!;
    let start = 0;
    for (const array of arrays) {
      array.fill(NaN, 0, Math.max(begin - start, 0)).fill(NaN, Math.max(end - start, 0));
      start += array.length;
    }
  }

  allGather(values: Sequence<NumberArray>, counts: readonly number[]): void {
    this.calls.push("allGather");
    const arrays = arraysOf(values);
    const [first] = arrays;
    const length = arrays.reduce((sum, array) => sum + array.length, 0);
    this.#begin("allGather", length);
    if (first === undefined) return;
    const array = joined(arrays, length);
    const ends = counts.map((_, rank) => counts.slice(0, rank + 1).reduce((sum, n) => sum + n));
    const part = (rank: number): Uint8Array =>
      bytesOf(array.subarray(ends[rank]! - counts[rank]!, ends[rank]));
    this.#box(this.rank).set(part(this.rank));
    this.#wait();
    this.#boxes.forEach((box, rank) => {
      part(rank).set(box.subarray(0, part(rank).length));
    });
    this.#wait();
    let at = 0;
    for (const own of arrays) {
      own.set(array.subarray(at, at + own.length));
      at += own.length;
    }
  }

  abort(message: string): never {
    Atomics.store(this.#control, 2, 1);
    Atomics.notify(this.#control, 1);
    throw new Error(`aborted: rank ${this.rank}: ${message}`);
  }

  finalize(): void {
    this.barrier();
  }

  /** @throws on every thread where calls or lengths differ */
  #begin(call: string, length: number): void {
    const text = `${call} of ${length}`;
    this.#box(this.rank).fill(0, 0, 64).set(new TextEncoder().encode(text));
    this.#wait();
    const calls = this.#boxes.map((box) =>
      new TextDecoder().decode(box.slice(0, 64)).replaceAll("\0", ""),
    );
    this.#wait();
    if (calls.some((other) => other !== text)) {
      throw new Error(`expected the same call on all ranks, got ${calls.join(", ")}`);
    }
  }

  /** Waits until all threads do. */
  #wait(): void {
    const control = this.#control;
    const round = Atomics.load(control, 1);
    if (Atomics.add(control, 0, 1) === this.size - 1) {
      Atomics.store(control, 0, 0);
      Atomics.add(control, 1, 1);
      Atomics.notify(control, 1);
      return;
    }
    while (Atomics.load(control, 1) === round) {
      if (Atomics.load(control, 2) === 1) throw new Error("aborted by another rank");
      if (Atomics.wait(control, 1, round, PATIENCE_MS) === "timed-out") {
        throw new Error(`rank ${this.rank} waits for threads that do not come`);
      }
    }
  }

  #box(rank: number): Uint8Array {
    return new Uint8Array(this.#memory, CONTROL_BYTES + rank * BOX_BYTES, BOX_BYTES);
  }

  get #boxes(): Uint8Array[] {
    return Array.from({ length: this.size }, (_, rank) => this.#box(rank));
  }
}
