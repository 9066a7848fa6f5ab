/**
 * Threads that help with jobs: workers over the kernels' shared memory, woken and joined by Atomics.
 *
 * The caller works on every job itself and never waits for a worker to begin: what is joined is the
 * chunks, each of which somebody has taken. So `step()` is synchronous, runs while workers are still
 * starting, and a worker that is gone leaves nothing behind unless it dies in the middle of a chunk.
 */
import type { KernelInstance } from "./instance.js";
import type { Job } from "./job.js";
import { allocateOrThrow, isShared } from "./memory/heap.js";
import { availableCores, canShareMemory, startWorker } from "./worker-host.js";
import type { Helpers } from "./workspace.js";

/** Words of the control block; the worker's source has the same. */
const CONTROL_WORDS = 3;
const EPOCH = 0;
const HELPERS = 1;
const GENERATION = 2;

/** Chunks that a job must have for workers to be woken: below, waking costs more than it gives. */
const LEAST_CHUNKS = 4;
/** A chunk takes well under a millisecond. */
const LOST_AFTER_MS = 10_000;

interface Helper {
  state: "starting" | "running" | "ended";
}

export class ThreadPool {
  readonly #instance: KernelInstance;
  readonly #job: Job;
  readonly #control: number;
  #helpers: Helper[] = [];
  #users = 0;
  #failure: Error | null = null;

  constructor(instance: KernelInstance, job: Job) {
    this.#instance = instance;
    this.#job = job;
    this.#control = allocateOrThrow(instance.heap, CONTROL_WORDS * 4);
  }

  /** The number of threads to be had, the caller's own included, up to so many. */
  threads(most: number): number {
    return Math.min(most, this.#helpers.length + 1);
  }

  /** Registers a user, and starts the workers that it lacks where workers can share memory. */
  acquire(threads = availableCores()): void {
    this.#users++;
    if (!isShared(this.#instance.heap.memory) || !canShareMemory()) return;
    while (this.#helpers.length < threads - 1) this.#addHelper();
  }

  /** The last user's release ends the workers. */
  release(): void {
    this.#users--;
    if (this.#users > 0) return;
    this.#endHelpers();
    this.#failure = null;
  }

  /** The threads for one pass, or null if there is but the caller's. */
  helpers(most: number): Helpers | null {
    const threads = this.threads(most);
    // A worker that has died is to be told even where no other is left.
    if (threads === 1 && this.#failure === null) return null;
    return {
      threads,
      help: () => {
        this.#help(threads);
      },
      join: () => {
        this.#join();
      },
    };
  }

  /**
   * Wakes workers for the job, which is open.
   *
   * @throws Error once if a worker has died since the last time; from then on there is one thread
   */
  #help(threads: number): void {
    const failure = this.#failure;
    this.#failure = null;
    if (failure !== null) throw failure;
    if (threads === 1 || this.#job.chunkCount < LEAST_CHUNKS) return;
    Atomics.store(this.#words, HELPERS, threads - 1);
    this.#wake();
  }

  /** Waits for the chunks that workers have taken. @throws Error if one of them is never done */
  #join(): void {
    let seen = -1;
    let deadline = Infinity;
    while (!this.#job.isDone) {
      const done = this.#job.doneCount;
      if (done !== seen) deadline = performance.now() + LOST_AFTER_MS;
      else if (performance.now() > deadline) {
        this.#endHelpers();
        throw new Error(
          "a kernel thread did not finish its part of a step; weights and state are undefined",
        );
      }
      seen = done;
    }
  }

  get #words(): Int32Array {
    return new Int32Array(this.#instance.heap.buffer, this.#control, CONTROL_WORDS);
  }

  #wake(): void {
    const words = this.#words;
    Atomics.add(words, EPOCH, 1);
    Atomics.notify(words, EPOCH);
  }

  #addHelper(): void {
    const { module, heap, exports, tables } = this.#instance;
    // Of its own, and given back only when the worker is known to have ended: it may be at work until then.
    const scratch = allocateOrThrow(heap, exports.scratchBytes());
    const helper: Helper = { state: "starting" };
    const setup = {
      module,
      memory: heap.memory,
      tables,
      scratch,
      control: this.#control,
      job: this.#job.address,
      helper: this.#helpers.length,
      generation: Atomics.load(this.#words, GENERATION),
    };
    this.#helpers.push(helper);
    startWorker(setup, {
      started: () => (helper.state = "running"),
      ended: () => {
        helper.state = "ended";
        heap.free(scratch);
        if (this.#helpers.includes(helper)) this.#fail("has ended");
      },
      failed: (reason) => {
        // One that never ran was not allowed to, by a content security policy for example.
        if (helper.state === "starting") this.#helpers = this.#helpers.filter((h) => h !== helper);
        else this.#fail(`died: ${reason}`);
      },
    });
  }

  #fail(reason: string): void {
    this.#failure ??= new Error(`a kernel thread ${reason}`);
    this.#endHelpers();
  }

  #endHelpers(): void {
    this.#helpers = [];
    Atomics.add(this.#words, GENERATION, 1);
    this.#wake();
  }
}
