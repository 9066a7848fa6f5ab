/** What all WebAssembly kernels of a program share: the memory, the job, the threads. */
import { addSums, NO_SUMS } from "../kernel.js";
import type { KernelTask, SumsOfSquares } from "../kernel.js";
import { instantiate } from "./instance.js";
import type { KernelInstance } from "./instance.js";
import { Job } from "./job.js";
import type { Pass } from "./job.js";
import { placedWhole, Staging } from "./staging.js";
import { ThreadPool } from "./thread-pool.js";

export class WasmRuntime {
  readonly pool: ThreadPool;
  readonly #instance: KernelInstance;
  readonly #job: Job;
  readonly #stagedJob: Job;
  readonly #staging: Staging;

  /** @throws WebAssembly.CompileError on an engine without WebAssembly SIMD */
  constructor() {
    this.#instance = instantiate();
    const { arena } = this.#instance;
    this.#job = new Job(arena);
    this.#stagedJob = new Job(arena);
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
    const { arena, exports } = this.#instance;
    const placed = tasks.map((task) => placedWhole(task, arena));
    this.#job.open(
      pass,
      placed.filter((task) => task !== null),
    );
    this.pool.help(threads);
    const staged = tasks.map((task, index) =>
      placed[index] === null ? this.#runStaged(pass, task) : null,
    );
    exports.work(this.#job.address);
    this.pool.join();
    const sums = this.#job.close().values();
    return staged.map((total) => total ?? sums.next().value ?? NO_SUMS);
  }

  /** A layer that lies outside the kernels' memory, at least in part: on this thread. */
  #runStaged(pass: Pass, task: KernelTask): SumsOfSquares {
    let total = NO_SUMS;
    this.#staging.forEachChunk(task, pass, (chunk) => {
      this.#stagedJob.open(pass, [chunk]);
      this.#instance.exports.work(this.#stagedJob.address);
      for (const sums of this.#stagedJob.close()) total = addSums(total, sums);
    });
    return total;
  }
}
