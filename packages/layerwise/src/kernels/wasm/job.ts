/**
 * Jobs in the kernels' memory: one pass over many layers, for all threads to read. assembly/job.ts and
 * assembly/layer.ts have the same offsets for the other side.
 */
import { addSums, CHUNK_SIZE, NO_SUMS } from "../kernel.js";
import type { KernelTask, SumsOfSquares } from "../kernel.js";
import { allocateOrThrow } from "./memory/heap.js";
import type { Heap } from "./memory/heap.js";

export type Pass = "measure" | "apply";

const JOB_BYTES = 64;
const LAYER_BYTES = 64;
const SUMS_BYTES = 24;

/** Words of the job, as indices into an Int32Array. */
const COUNTER = 0;
const DONE = 1;
const CHUNKS = 2;
const LAYER_COUNT = 3;
const LAYERS = 4;
const SUMS = 5;
const PASS = 6;
const STRETCHES = 7;

/** Beyond any number of chunks: a thread that wakes late takes nothing. */
const CLOSED = 0x40000000;

const WANT_WEIGHTS = 1;
const WANT_UPDATE = 2;
const SKIP_ZEROS = 4;
const FETCH_MOMENTUM = 8;

/** Where the arrays of a task lie in the kernels' memory; 0 for what it has not. */
export interface Addresses {
  readonly weights: number;
  readonly gradient: number;
  readonly momentum: number;
  readonly absmax: number;
}

/** A task whose arrays are all in the kernels' memory. */
export interface PlacedTask {
  readonly task: KernelTask;
  readonly addresses: Addresses;
  readonly size: number;
  /** Weights and gradient were just copied into the cache. */
  readonly isCopied: boolean;
}

export class Job {
  readonly #heap: Heap;
  readonly address: number;
  #layers = { address: 0, capacity: 0 };
  #sums = { address: 0, capacity: 0 };
  #tasks: readonly PlacedTask[] = [];

  constructor(heap: Heap) {
    this.#heap = heap;
    this.address = allocateOrThrow(heap, JOB_BYTES);
    Atomics.store(this.#words, COUNTER, CLOSED);
  }

  get #words(): Int32Array {
    return new Int32Array(this.#heap.buffer, this.address, JOB_BYTES / 4);
  }

  /** Writes a job for so many threads and opens it to all. */
  open(pass: Pass, tasks: readonly PlacedTask[], threads: number): void {
    const chunks = tasks.reduce((sum, { size }) => sum + chunkCount(size), 0);
    this.#tasks = tasks;
    this.#layers = this.#withCapacity(this.#layers, tasks.length * LAYER_BYTES);
    this.#sums = this.#withCapacity(this.#sums, chunks * SUMS_BYTES);
    this.#writeLayers(tasks);
    const words = this.#words;
    words[CHUNKS] = chunks;
    words[LAYER_COUNT] = tasks.length;
    words[LAYERS] = this.#layers.address;
    words[SUMS] = this.#sums.address;
    words[PASS] = pass === "apply" ? 1 : 0;
    words[STRETCHES] = threads;
    Atomics.store(words, DONE, 0);
    Atomics.store(words, COUNTER, 0); // last: who takes a chunk sees all of the above
  }

  get chunkCount(): number {
    return this.#words[CHUNKS]!;
  }

  get doneCount(): number {
    return Atomics.load(this.#words, DONE);
  }

  get isDone(): boolean {
    return this.doneCount === this.chunkCount;
  }

  /**
   * Closes the job and returns the sums of its tasks: their chunks' sums, added in order.
   *
   * @param before what the first task's sums go on from, when its layer comes in several jobs
   */
  close(before = NO_SUMS): SumsOfSquares[] {
    Atomics.store(this.#words, COUNTER, CLOSED);
    const count = this.#tasks.reduce((sum, { size }) => sum + chunkCount(size), 0);
    const values = new Float64Array(this.#heap.buffer, this.#sums.address, count * 3);
    let at = 0;
    const sums = this.#tasks.map(({ task, size }, index) => {
      let total = index === 0 ? before : NO_SUMS;
      for (let chunk = 0; chunk < chunkCount(size); chunk++, at += 3) {
        total = addSums(total, {
          weights: values[at]!,
          gradient: values[at + 1]!,
          update: values[at + 2]!,
        });
      }
      return wantedSums(task, total);
    });
    this.#tasks = [];
    return sums;
  }

  /** Memory of at least so many bytes, for use until the next job. */
  #withCapacity(
    area: { address: number; capacity: number },
    bytes: number,
  ): { address: number; capacity: number } {
    if (bytes <= area.capacity) return area;
    this.#heap.free(area.address);
    const capacity = bytes * 2;
    return { address: allocateOrThrow(this.#heap, capacity), capacity };
  }

  #writeLayers(tasks: readonly PlacedTask[]): void {
    const view = new DataView(this.#heap.buffer, this.#layers.address, tasks.length * LAYER_BYTES);
    let firstChunk = 0;
    tasks.forEach((placed, index) => {
      writeLayer(view, index * LAYER_BYTES, placed, firstChunk);
      firstChunk += chunkCount(placed.size);
    });
  }
}

function chunkCount(size: number): number {
  return Math.ceil(size / CHUNK_SIZE);
}

function writeLayer(view: DataView, at: number, placed: PlacedTask, firstChunk: number): void {
  const { addresses, size, task, isCopied } = placed;
  const { equation, sums } = task;
  view.setUint32(at, addresses.weights, true);
  view.setUint32(at + 4, addresses.gradient, true);
  view.setUint32(at + 8, addresses.momentum, true);
  view.setUint32(at + 12, addresses.absmax, true);
  view.setUint32(at + 16, size, true);
  view.setInt32(
    at + 20,
    (sums.weights ? WANT_WEIGHTS : 0) |
      (sums.update ? WANT_UPDATE : 0) |
      (equation.skipZeros ? SKIP_ZEROS : 0) |
      (isCopied && addresses.momentum !== 0 ? FETCH_MOMENTUM : 0),
    true,
  );
  view.setFloat32(at + 24, equation.gradientFactor, true);
  view.setFloat32(at + 28, equation.weightFactor, true);
  view.setFloat32(at + 32, equation.decay, true);
  view.setFloat32(at + 36, equation.accumulation, true);
  view.setFloat32(at + 40, equation.lookahead, true);
  view.setFloat32(at + 44, equation.stepSize, true);
  view.setInt32(at + 48, firstChunk, true);
}

function wantedSums({ sums }: KernelTask, total: SumsOfSquares): SumsOfSquares {
  return {
    weights: sums.weights ? total.weights : 0,
    gradient: total.gradient,
    update: sums.update ? total.update : 0,
  };
}
