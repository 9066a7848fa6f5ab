/**
 * Kernels over one memory: passes over layers that lie in it, and over others that pass through it. The workspace
 * allocates everything that a pass needs there, so a pass can't run out of memory.
 */
import { createDynamicMap } from "../../state/codebook.js";
import { NO_SUMS } from "../kernel.js";
import type { KernelTask, SumsOfSquares } from "../kernel.js";
import { scratchBytes, tableBytes } from "./constants.generated.js";
import { instantiate } from "./instance.js";
import type { KernelInstance } from "./instance.js";
import { Job, JOB_BYTES, jobParts } from "./job.js";
import type { Pass, PlacedTask } from "./job.js";
import type { Allocation } from "./memory/allocation.js";
import { ALIGNMENT, allocateOrThrow } from "./memory/heap.js";
import type { Heap } from "./memory/heap.js";
import { Bank, bankBytes, MOST_CHUNKS, placedWhole, stagedBatches } from "./memory/staging.js";
import type { Batch } from "./memory/staging.js";
import { CONTROL_WORDS } from "./worker-host.js";

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
  readonly heap: Heap;
  readonly instance: KernelInstance;
  readonly job: Job;
  /** Address of what all threads read. */
  readonly tables: number;
  readonly #area: Allocation;
  readonly #controlAt: number;
  readonly #bank: Bank;
  /** For threads to help with layers that pass through: allocated when they first do, while there is room. */
  #largeBanks: readonly Bank[] | null = null;

  /**
   * @throws WebAssembly.CompileError on an engine without WebAssembly SIMD; RangeError when the heap is full. Nothing is
   *   left behind then
   */
  constructor(heap: Heap) {
    this.heap = heap;
    this.instance = instantiate(heap);
    const sizes = {
      tables: tableBytes,
      scratch: scratchBytes,
      control: CONTROL_WORDS * 4,
      job: JOB_BYTES,
      bank: bankBytes(CHUNKS_ALONE),
    };
    const { starts, end } = layOut(sizes);
    const area = allocateOrThrow(heap, end);
    const { tables, scratch, control, job, bank } = starts;
    this.#area = area;
    this.#controlAt = control;
    this.tables = area.address + tables;
    this.#fillTables(area, tables, scratch);
    this.job = new Job(area, job);
    this.#bank = new Bank(CHUNKS_ALONE, area, bank);
  }

  #fillTables(area: Allocation, tables: number, scratch: number): void {
    const { exports } = this.instance;
    exports.place(area.address + tables, area.address + scratch);
    const codebook = createDynamicMap();
    area.view(Float32Array, codebook.length, tables).set(codebook);
    exports.fillTables();
  }

  /** Address of the words by which a thread pool speaks to its workers: worker-host.ts. */
  get control(): number {
    return this.#area.address + this.#controlAt;
  }

  get controlWords(): Int32Array {
    return this.#area.view(Int32Array, CONTROL_WORDS, this.#controlAt);
  }

  /**
   * One pass over layers.
   *
   * @param helpers null: the caller's thread alone, in memory that no worker shares
   */
  run(pass: Pass, tasks: readonly KernelTask[], helpers: Helpers | null): SumsOfSquares[] {
    if (tasks.length === 0) return [];
    return this.heap.pinned(() => {
      const placed = tasks.map((task) => placedWhole(task, this.heap));
      const inside = placed.filter((task) => task !== null);
      const insideSums = this.#runInside(pass, inside, helpers);
      if (inside.length === tasks.length) return insideSums;
      const sums = insideSums.values();
      return tasks.map((task, index) => {
        if (placed[index] !== null) return sums.next().value ?? NO_SUMS;
        return this.#passThrough(pass, task, helpers);
      });
    });
  }

  #runInside(pass: Pass, tasks: readonly PlacedTask[], helpers: Helpers | null): SumsOfSquares[] {
    const sums: SumsOfSquares[] = [];
    for (const part of jobParts(tasks)) {
      const before = part[0]?.continues === true ? sums.pop() : undefined;
      this.#begin(pass, part, helpers);
      sums.push(...this.#finish(helpers, before));
    }
    return sums;
  }

  /** A layer that lies elsewhere, at least in part: a batch at a time is copied in, worked on, and copied back. */
  #passThrough(pass: Pass, task: KernelTask, helpers: Helpers | null): SumsOfSquares {
    if (helpers !== null && helpers.threads > 1) {
      const banks = this.#banksForHelpers();
      if (banks !== null) return this.#passThroughBeside(pass, task, { helpers, banks });
    }
    let total = NO_SUMS;
    for (const batch of stagedBatches(task, pass, this.heap, [this.#bank])) {
      this.#begin(pass, [batch.placed], helpers);
      [total = NO_SUMS] = this.#finish(helpers, total);
      batch.putBack();
    }
    return total;
  }

  /** The same, with copies beside the work: the caller alone can reach the arrays. */
  #passThroughBeside(
    pass: Pass,
    task: KernelTask,
    { helpers, banks }: { helpers: Helpers; banks: readonly Bank[] },
  ): SumsOfSquares {
    let total = NO_SUMS;
    let running: Batch | null = null;
    for (const batch of stagedBatches(task, pass, this.heap, banks)) {
      const done: Batch | null = running;
      if (done !== null) [total = NO_SUMS] = this.#finish(helpers, total);
      this.#begin(pass, [batch.placed], helpers);
      running = batch;
      // Beside the job: this copy, and the next batch's on the way back to the top of the loop.
      done?.putBack();
    }
    if (running === null) return total;
    [total = NO_SUMS] = this.#finish(helpers, total);
    running.putBack();
    return total;
  }

  /** Two banks, or null when there is no room for both. Helpers need shared memory, whose views outlive its growth. */
  #banksForHelpers(): readonly Bank[] | null {
    if (this.#largeBanks !== null) return this.#largeBanks;
    const area = this.heap.allocate(2 * bankBytes(MOST_CHUNKS));
    if (area === null) return null;
    this.#largeBanks = [0, 1].map(
      (turn) => new Bank(MOST_CHUNKS, area, turn * bankBytes(MOST_CHUNKS)),
    );
    return this.#largeBanks;
  }

  #begin(pass: Pass, tasks: readonly PlacedTask[], helpers: Helpers | null): void {
    this.job.open(pass, tasks, helpers?.threads ?? 1);
    helpers?.help();
  }

  #finish(helpers: Helpers | null, before = NO_SUMS): SumsOfSquares[] {
    this.instance.exports.work(this.job.address);
    helpers?.join();
    return this.job.close(before);
  }
}

/** Where parts start that lie one after the other, each at a multiple of the alignment. */
function layOut<Name extends string>(
  sizes: Readonly<Record<Name, number>>,
): { starts: Record<Name, number>; end: number } {
  const starts: Partial<Record<Name, number>> = {};
  let end = 0;
  for (const [name, bytes] of Object.entries(sizes) as [Name, number][]) {
    starts[name] = end;
    end += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
  }
  return { starts: starts as Record<Name, number>, end };
}
