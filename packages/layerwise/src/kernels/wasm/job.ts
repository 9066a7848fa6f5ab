/**
 * Jobs in the kernels' memory: one pass over a bounded number of layers, for all threads to read. Their room is fixed, so
 * that nothing is allocated in a pass; a pass over more comes in several jobs.
 */
import type { BLOCK_SIZE } from "../../state/codebook.js";
import { addSums, NO_SUMS } from "../kernel.js";
import type { KernelTask, SumsOfSquares, CHUNK_SIZE } from "../kernel.js";
import * as constants from "./constants.generated.js";
import { HeapArray } from "./memory/allocation.js";
import type { Allocation } from "./memory/allocation.js";

export type Pass = "measure" | "apply";

/** These do not compile if the kernels cut layers elsewhere than the interface says. */
const CHUNK: typeof CHUNK_SIZE = constants.chunkSize;
export const BLOCK: typeof BLOCK_SIZE = constants.blockSize;

/** Layers and chunks of a job. 4,096 chunks are 2^27 elements, about 50 ms of work; their sums take 96 KB. */
const MOST_LAYERS = 1024;
const MOST_CHUNKS = 4096;

/** Where the job's parts lie in its allocation. */
const LAYERS_AT = 64;
const SUMS_AT = LAYERS_AT + MOST_LAYERS * constants.layerBytes;

/** Float64 words of a chunk's sums. */
const WORDS = constants.sumsBytes / 8;

/** Bytes of a job with its layers and sums. */
export const JOB_BYTES = SUMS_AT + MOST_CHUNKS * constants.sumsBytes;

/** The low half of the counter beyond any number of chunks: a thread that wakes late takes nothing. */
const CLOSED = 0x7fffffffn;

/** Where the arrays of a task lie in the kernels' memory; 0 for what it has not. */
export interface Addresses {
  readonly weights: number;
  readonly gradient: number;
  readonly momentum: number;
  readonly absmax: number;
}

/** A task, or a run of its chunks, whose arrays are all in the kernels' memory. */
export interface PlacedTask {
  readonly task: KernelTask;
  readonly addresses: Addresses;
  readonly size: number;
  /** Weights and gradient were just copied into the cache. */
  readonly isCopied: boolean;
  /** The rest of a layer that did not fit the job before. */
  readonly continues: boolean;
}

export class Job {
  readonly address: number;
  readonly #words: HeapArray<Int32Array>;
  readonly #counter: HeapArray<BigInt64Array>;
  readonly #layers: HeapArray<DataView>;
  readonly #sums: HeapArray<Float64Array>;
  #number = 0n;
  #tasks: readonly PlacedTask[] = [];
  #chunks = 0;

  /** @param at where the job starts in the area: a multiple of 64 with {@link JOB_BYTES} behind it */
  constructor(area: Allocation, at: number) {
    const { memory } = area;
    this.address = area.address + at;
    this.#words = new HeapArray(memory, () => area.view(Int32Array, constants.jobBytes / 4, at));
    this.#counter = new HeapArray(memory, () =>
      area.view(BigInt64Array, 1, at + constants.jobCounter),
    );
    this.#layers = new HeapArray(memory, () =>
      area.view(DataView, MOST_LAYERS * constants.layerBytes, at + LAYERS_AT),
    );
    this.#sums = new HeapArray(memory, () =>
      area.view(Float64Array, MOST_CHUNKS * WORDS, at + SUMS_AT),
    );
    this.#setCounter(CLOSED);
  }

  /** Writes a job for so many threads and opens it to all. */
  open(pass: Pass, tasks: readonly PlacedTask[], threads: number): void {
    this.#setCounter(CLOSED); // a job that could not be joined was not closed
    this.#tasks = tasks;
    this.#chunks = this.#writeLayers(tasks);
    const words = this.#words.view;
    words[constants.jobChunks / 4] = this.#chunks;
    words[constants.jobLayerCount / 4] = tasks.length;
    words[constants.jobLayers / 4] = this.address + LAYERS_AT;
    words[constants.jobSums / 4] = this.address + SUMS_AT;
    words[constants.jobPass / 4] = pass === "apply" ? constants.applyPass : constants.measurePass;
    words[constants.jobStretches / 4] = threads;
    Atomics.store(words, constants.jobDone / 4, 0);
    this.#number++;
    this.#setCounter(0n); // last: who takes a chunk sees all of the above
  }

  get chunkCount(): number {
    return this.#chunks;
  }

  get doneCount(): number {
    return Atomics.load(this.#words.view, constants.jobDone / 4);
  }

  get isDone(): boolean {
    return this.doneCount === this.#chunks;
  }

  /**
   * Closes the job and returns the sums of its tasks: their chunks' sums, added in order.
   *
   * @param before what the first task's sums go on from, when its layer comes in several jobs
   */
  close(before: SumsOfSquares): SumsOfSquares[] {
    this.#setCounter(CLOSED);
    const values = this.#sums.view;
    let at = 0;
    const sums = this.#tasks.map(({ task, size }, index) => {
      let total = index === 0 ? before : NO_SUMS;
      for (let chunk = 0; chunk < chunkCount(size); chunk++, at += WORDS) {
        total = addSums(total, {
          weights: values[at + constants.sumsWeights / 8]!,
          gradient: values[at + constants.sumsGradient / 8]!,
          update: values[at + constants.sumsUpdate / 8]!,
        });
      }
      return wantedSums(task, total);
    });
    this.#tasks = [];
    return sums;
  }

  /** The job's number and the next chunk in one word, which a thread compares as a whole: assembly/job.ts. */
  #setCounter(chunk: bigint): void {
    const counter = BigInt.asIntN(64, (this.#number << 32n) | chunk);
    Atomics.store(this.#counter.view, 0, counter);
  }

  /** @returns the number of chunks */
  #writeLayers(tasks: readonly PlacedTask[]): number {
    const view = this.#layers.view;
    let firstChunk = 0;
    tasks.forEach((placed, index) => {
      writeLayer(view, index * constants.layerBytes, placed, firstChunk);
      firstChunk += chunkCount(placed.size);
    });
    return firstChunk;
  }
}

function chunkCount(size: number): number {
  return Math.ceil(size / CHUNK);
}

/** Tasks in the parts that fit a job each. A task that is cut goes on at the start of the next part. */
export function jobParts(tasks: readonly PlacedTask[]): Iterable<readonly PlacedTask[]> {
  const chunks = tasks.reduce((sum, { size }) => sum + chunkCount(size), 0);
  return tasks.length <= MOST_LAYERS && chunks <= MOST_CHUNKS ? [tasks] : cutParts(tasks);
}

function* cutParts(tasks: readonly PlacedTask[]): Generator<readonly PlacedTask[]> {
  let part: PlacedTask[] = [];
  let room = MOST_CHUNKS;
  for (const task of tasks) {
    let rest: PlacedTask | null = task;
    while (rest !== null) {
      if (room === 0 || part.length === MOST_LAYERS) {
        yield part;
        part = [];
        room = MOST_CHUNKS;
      }
      const fits: boolean = chunkCount(rest.size) <= room;
      const piece: PlacedTask = fits ? rest : pieceOf(rest, 0, room * CHUNK);
      part.push(piece);
      room -= chunkCount(piece.size);
      rest = fits ? null : pieceOf(rest, piece.size, rest.size);
    }
  }
  yield part;
}

/** Elements [start, end) of a placed task; start is a multiple of the chunk. */
function pieceOf(placed: PlacedTask, start: number, end: number): PlacedTask {
  const { weights, gradient, momentum, absmax } = placed.addresses;
  const momentumWidth = absmax === 0 ? 4 : 1;
  return {
    ...placed,
    addresses: {
      weights: weights + 4 * start,
      gradient: gradient + 4 * start,
      momentum: momentum === 0 ? 0 : momentum + momentumWidth * start,
      absmax: absmax === 0 ? 0 : absmax + 4 * (start / BLOCK),
    },
    size: end - start,
    continues: placed.continues || start > 0,
  };
}

function writeLayer(view: DataView, at: number, placed: PlacedTask, firstChunk: number): void {
  const { addresses, size, task, isCopied } = placed;
  const { equation, sums } = task;
  view.setUint32(at + constants.layerWeights, addresses.weights, true);
  view.setUint32(at + constants.layerGradient, addresses.gradient, true);
  view.setUint32(at + constants.layerMomentum, addresses.momentum, true);
  view.setUint32(at + constants.layerAbsmax, addresses.absmax, true);
  view.setUint32(at + constants.layerSize, size, true);
  view.setInt32(
    at + constants.layerFlags,
    (sums.weights ? constants.wantWeights : 0) |
      (sums.update ? constants.wantUpdate : 0) |
      (equation.skipZeros ? constants.skipZeros : 0) |
      (isCopied && addresses.momentum !== 0 ? constants.fetchMomentum : 0),
    true,
  );
  view.setFloat32(at + constants.layerGradientFactor, equation.gradientFactor, true);
  view.setFloat32(at + constants.layerWeightFactor, equation.weightFactor, true);
  view.setFloat32(at + constants.layerDecay, equation.decay, true);
  view.setFloat32(at + constants.layerAccumulation, equation.accumulation, true);
  view.setFloat32(at + constants.layerLookahead, equation.lookahead, true);
  view.setFloat32(at + constants.layerStepSize, equation.stepSize, true);
  view.setInt32(at + constants.layerFirstChunk, firstChunk, true);
}

function wantedSums({ sums }: KernelTask, total: SumsOfSquares): SumsOfSquares {
  return {
    weights: sums.weights ? total.weights : 0,
    gradient: total.gradient,
    update: sums.update ? total.update : 0,
  };
}
