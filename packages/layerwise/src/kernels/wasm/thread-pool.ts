/**
 * Threads that help with jobs: workers over the kernels' shared memory, woken and joined by Atomics.
 *
 * They start when a job first needs them, and end shortly after the last optimizer that may use them. The
 * caller works on every job itself and never waits for a worker to begin: it waits for chunks, each of which some
 * thread has taken. So `step()` is synchronous and runs while workers are still starting, and a lost worker matters
 * only if it dies in the middle of a chunk.
 */
import { warnOnce } from "../../warn.js";
import { scratchBytes } from "./constants.generated.js";
import type { Allocation } from "./memory/allocation.js";
import { canShareMemory, EPOCH, GENERATION, HELPERS, startWorker } from "./worker-host.js";
import type { Helpers, Workspace } from "./workspace.js";

/** The least chunks of a job for which workers are woken. With fewer, waking costs more than it gains. */
const LEAST_CHUNKS = 4;
/** A chunk takes well under a millisecond. */
const LOST_AFTER_MS = 10_000;
/** So that a program that makes one optimizer after another does not start workers for each. */
const IDLE_MS = 1000;

interface Helper {
  isRunning: boolean;
  /** The worker's own memory; null once it is freed. */
  scratch: Allocation | null;
}

/** An optimizer's claim to threads, to be released once. */
export interface ThreadLease {
  release(): void;
}

export class ThreadPool {
  readonly #workspace: Workspace;
  /** Whether the platform lets workers share this memory. */
  readonly #isCapable: boolean;
  #helpers: Helper[] = [];
  /** The most threads that each user asks for. */
  readonly #leases = new Map<ThreadLease, number>();
  #most = 1;
  /** A worker could not start, so the pool does not try again. */
  #isRefused = false;
  /** A worker has died: the optimizers of this pool continue without workers. */
  #isBroken = false;
  #failure: Error | null = null;
  #idle: ReturnType<typeof setTimeout> | undefined;

  constructor(workspace: Workspace) {
    this.#workspace = workspace;
    this.#isCapable = workspace.heap.isShared && canShareMemory();
  }

  /** The number of threads for a job, including the caller's, at most `most`. */
  threads(most: number): number {
    return Math.min(most, this.#canStart ? this.#most : this.#helpers.length + 1);
  }

  get #canStart(): boolean {
    return this.#isCapable && !this.#isRefused && !this.#isBroken;
  }

  /** Registers a user of this many threads. It starts none yet. */
  acquire(threads: number): ThreadLease {
    clearTimeout(this.#idle);
    const lease = {
      release: () => {
        this.#release(lease);
      },
    };
    this.#leases.set(lease, threads);
    this.#most = Math.max(this.#most, threads);
    return lease;
  }

  #release(lease: ThreadLease): void {
    if (!this.#leases.delete(lease)) return;
    this.#most = Math.max(1, ...this.#leases.values());
    if (this.#leases.size > 0) return;
    this.#failure = null;
    this.#isBroken = false;
    if (this.#helpers.length > 0) this.#endWhenIdle();
  }

  #endWhenIdle(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      this.#endHelpers();
    }, IDLE_MS);
    // In Node, where a timer is an object, it must not keep the program alive.
    (this.#idle as unknown as { unref?: () => void }).unref?.();
  }

  /**
   * The threads for one pass, or null if workers can't share this memory. The caller joins with one thread too,
   * because a worker that wakes late may have taken a chunk.
   *
   * @throws Error once if a worker has died since the last time; from then on there is one thread
   */
  helpers(most: number): Helpers | null {
    const failure = this.#failure;
    this.#failure = null;
    if (failure !== null) throw failure;
    const threads = this.threads(most);
    if (!this.#isCapable) return null;
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

  /** Wakes as many workers as the open job has chunks for, and starts missing ones. */
  #help(threads: number): void {
    const { chunkCount } = this.#workspace.job;
    if (threads === 1 || chunkCount < LEAST_CHUNKS) return;
    const helpers = Math.min(threads, chunkCount) - 1;
    while (this.#canStart && this.#helpers.length < helpers) this.#startHelper();
    Atomics.store(this.#words, HELPERS, helpers);
    this.#wake();
  }

  /** Waits for the chunks that workers have taken. @throws Error if one of them is never finished */
  #join(): void {
    const { job } = this.#workspace;
    let seen = -1;
    let deadline = Infinity;
    while (!job.isDone) {
      const done = job.doneCount;
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
    return this.#workspace.controlWords;
  }

  #wake(): void {
    const words = this.#words;
    Atomics.add(words, EPOCH, 1);
    Atomics.notify(words, EPOCH);
  }

  #startHelper(): void {
    const { heap, instance, tables, job, control } = this.#workspace;
    const scratch = heap.allocate(scratchBytes);
    if (scratch === null) {
      this.#refuse("the kernels' memory is full");
      return;
    }
    const helper: Helper = { isRunning: false, scratch };
    const setup = {
      module: instance.module,
      memory: heap.memory,
      tables,
      scratch: scratch.address,
      control,
      job: job.address,
      helper: this.#helpers.length,
      generation: Atomics.load(this.#words, GENERATION),
    };
    this.#helpers.push(helper);
    const failed = (reason: string): void => {
      this.#failed(helper, reason);
    };
    try {
      startWorker(setup, {
        started: () => (helper.isRunning = true),
        ended: () => {
          // Not before: until then it may be at work.
          freeScratch(helper);
          if (this.#helpers.includes(helper)) this.#break("has ended");
        },
        failed,
      });
    } catch (error) {
      failed(String(error));
    }
  }

  #failed(helper: Helper, reason: string): void {
    if (helper.isRunning) {
      this.#break(`died: ${reason}`);
      return;
    }
    // If it never ran, a content security policy or a lack of memory prevented it.
    freeScratch(helper);
    this.#helpers = this.#helpers.filter((other) => other !== helper);
    this.#refuse(reason);
  }

  #refuse(reason: string): void {
    this.#isRefused = true;
    warnOnce(`steps run on fewer threads than asked for: a worker could not start (${reason})`);
  }

  #break(reason: string): void {
    this.#failure ??= new Error(`a kernel thread ${reason}`);
    this.#isBroken = true;
    this.#endHelpers();
  }

  #endHelpers(): void {
    this.#helpers = [];
    Atomics.add(this.#words, GENERATION, 1);
    this.#wake();
  }
}

function freeScratch(helper: Helper): void {
  helper.scratch?.free();
  helper.scratch = null;
}
