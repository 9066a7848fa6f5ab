/** Kernels over one memory: passes over layers that lie in it, and over others that pass through it. */
import { NO_SUMS } from "../kernel.js";
import type { KernelTask, SumsOfSquares } from "../kernel.js";
import { instantiate } from "./instance.js";
import type { KernelInstance } from "./instance.js";
import { Job } from "./job.js";
import type { Pass, PlacedTask } from "./job.js";
import type { Heap } from "./memory/heap.js";
import { MOST_CHUNKS, placedWhole, Staging } from "./memory/staging.js";
import type { Batch } from "./memory/staging.js";

/** Threads that help with a job: thread-pool.ts. */
export interface Helpers {
  readonly threads: number;
  /** Asks them to help with the job that is open. */
  help(): void;
  /** Waits for what they have taken. */
  join(): void;
}

/** Chunks of a batch that passes through with one thread: one gains nothing from more, and stays in the cache. */
const CHUNKS_ALONE = 1;

export class Workspace {
  readonly instance: KernelInstance;
  readonly job: Job;
  readonly #staging: Staging;

  /** @throws WebAssembly.CompileError on an engine without WebAssembly SIMD */
  constructor(heap: Heap) {
    this.instance = instantiate(heap);
    this.job = new Job(heap);
    this.#staging = new Staging(heap);
  }

  get heap(): Heap {
    return this.instance.heap;
  }

  /**
   * One pass over layers.
   *
   * @param helpers null: the caller's thread alone
   */
  run(pass: Pass, tasks: readonly KernelTask[], helpers: Helpers | null): SumsOfSquares[] {
    const placed = tasks.map((task) => placedWhole(task, this.heap));
    this.#begin(
      pass,
      placed.filter((task) => task !== null),
      helpers,
    );
    const sums = this.#finish(helpers).values();
    return tasks.map((task, index) => {
      if (placed[index] !== null) return sums.next().value ?? NO_SUMS;
      return helpers === null
        ? this.#passThrough(pass, task)
        : this.#passThroughBeside(pass, task, helpers);
    });
  }

  /** A layer that lies elsewhere, at least in part: a batch at a time is copied in, worked on, and copied back. */
  #passThrough(pass: Pass, task: KernelTask): SumsOfSquares {
    let total = NO_SUMS;
    for (const batch of this.#staging.batches(task, pass, CHUNKS_ALONE, 1)) {
      this.#begin(pass, [batch.placed], null);
      [total = NO_SUMS] = this.#finish(null, total);
      batch.putBack();
    }
    return total;
  }

  /** The same, with copies beside the work: the caller alone can reach the arrays. */
  #passThroughBeside(pass: Pass, task: KernelTask, helpers: Helpers): SumsOfSquares {
    let total = NO_SUMS;
    let running: Batch | null = null;
    for (const batch of this.#staging.batches(task, pass, MOST_CHUNKS, 2)) {
      const done: Batch | null = running;
      if (done !== null) [total = NO_SUMS] = this.#finish(helpers, total);
      this.#begin(pass, [batch.placed], helpers);
      running = batch;
      // Beside the job: this copy, and the next batch's on the way back to the top of the loop.
      done?.putBack();
    }
    [total = NO_SUMS] = this.#finish(helpers, total);
    running?.putBack();
    return total;
  }

  #begin(pass: Pass, tasks: readonly PlacedTask[], helpers: Helpers | null): void {
    this.job.open(pass, tasks, helpers?.threads ?? 1);
    helpers?.help();
  }

  #finish(helpers: Helpers | null, before?: SumsOfSquares): SumsOfSquares[] {
    this.instance.exports.work(this.job.address);
    helpers?.join();
    return this.job.close(before);
  }
}
