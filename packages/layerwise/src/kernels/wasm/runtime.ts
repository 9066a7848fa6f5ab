/** What all WebAssembly kernels of a program share: the memory, the job, the threads. */
import { NO_SUMS } from "../kernel.js";
import type { KernelTask, SumsOfSquares } from "../kernel.js";
import { instantiate } from "./instance.js";
import type { KernelInstance } from "./instance.js";
import { Job } from "./job.js";
import type { Pass, PlacedTask } from "./job.js";
import { MOST_CHUNKS, placedWhole, Staging } from "./staging.js";
import type { Batch } from "./staging.js";
import { ThreadPool } from "./thread-pool.js";

export class WasmRuntime {
  readonly pool: ThreadPool;
  readonly #instance: KernelInstance;
  readonly #job: Job;
  readonly #staging: Staging;

  /** @throws WebAssembly.CompileError on an engine without WebAssembly SIMD */
  constructor() {
    this.#instance = instantiate();
    const { arena } = this.#instance;
    this.#job = new Job(arena);
    this.#staging = new Staging(arena);
    this.pool = new ThreadPool(this.#instance, this.#job);
  }

  /** Zeros in the kernels' memory while it lasts, else outside. */
  allocate<A extends Float32Array | Uint8Array>(
    type: {
      new (buffer: ArrayBufferLike, offset: number, length: number): A;
      new (length: number): A;
      readonly BYTES_PER_ELEMENT: number;
    },
    length: number,
  ): A {
    const { arena, isShared } = this.#instance;
    const address = isShared ? arena.allocate(length * type.BYTES_PER_ELEMENT) : null;
    return address === null ? new type(length) : new type(arena.buffer, address, length);
  }

  release(array: Float32Array | Uint8Array): void {
    const { arena } = this.#instance;
    if (arena.owns(array)) arena.free(array.byteOffset);
  }

  /** One pass over layers, on so many threads. */
  run(pass: Pass, tasks: readonly KernelTask[], threads: number): SumsOfSquares[] {
    const placed = tasks.map((task) => placedWhole(task, this.#instance.arena));
    this.#begin(
      pass,
      placed.filter((task) => task !== null),
      threads,
    );
    const sums = this.#finish().values();
    return tasks.map((task, index) =>
      placed[index] === null
        ? this.#runStaged(pass, task, threads)
        : (sums.next().value ?? NO_SUMS),
    );
  }

  /** A layer that lies outside the kernels' memory, at least in part: copies beside the work. */
  #runStaged(pass: Pass, task: KernelTask, threads: number): SumsOfSquares {
    let total = NO_SUMS;
    let running: Batch | null = null;
    // One thread gains nothing from large batches, and small ones stay in the second-level cache.
    const chunks = threads === 1 ? 1 : MOST_CHUNKS;
    for (const batch of this.#staging.batches(task, pass, chunks)) {
      const done: Batch | null = running;
      if (done !== null) [total = NO_SUMS] = this.#finish(total);
      this.#begin(pass, [batch.placed], threads);
      running = batch;
      // Beside the job: this copy, and the next batch's on the way back to the top of the loop.
      done?.putBack();
    }
    [total = NO_SUMS] = this.#finish(total);
    running?.putBack();
    return total;
  }

  #begin(pass: Pass, tasks: readonly PlacedTask[], threads: number): void {
    this.#job.open(pass, tasks, threads);
    this.pool.help(threads);
  }

  #finish(before?: SumsOfSquares): SumsOfSquares[] {
    this.#instance.exports.work(this.#job.address);
    this.pool.join();
    return this.#job.close(before);
  }
}
