/** The WebAssembly kernel: jobs over layers in its memory, and layers outside of it chunk by chunk. */
import { addSums, NO_SUMS } from "../kernel.js";
import type { Kernel, KernelTask, SumsOfSquares } from "../kernel.js";
import type { Arena } from "./arena.js";
import { instantiate } from "./instance.js";
import type { KernelInstance } from "./instance.js";
import { Job } from "./job.js";
import type { Pass, PlacedTask } from "./job.js";
import { placedWhole, Staging } from "./staging.js";

export class WasmKernel implements Kernel {
  readonly name = "wasm";
  readonly #instance: KernelInstance;
  readonly #arena: Arena;
  readonly #job: Job;
  readonly #stagedJob: Job;
  readonly #staging: Staging;

  /** @throws WebAssembly.CompileError on an engine without WebAssembly SIMD */
  constructor() {
    this.#instance = instantiate();
    this.#arena = this.#instance.arena;
    this.#job = new Job(this.#arena);
    this.#stagedJob = new Job(this.#arena);
    this.#staging = new Staging(this.#arena);
  }

  measure(tasks: readonly KernelTask[]): SumsOfSquares[] {
    return this.#run("measure", tasks);
  }

  apply(tasks: readonly KernelTask[]): SumsOfSquares[] {
    return this.#run("apply", tasks);
  }

  allocateFloat32(length: number): Float32Array {
    const address = this.#instance.isShared ? this.#arena.allocate(length * 4) : null;
    return address === null
      ? new Float32Array(length)
      : new Float32Array(this.#arena.buffer, address, length);
  }

  allocateUint8(length: number): Uint8Array {
    const address = this.#instance.isShared ? this.#arena.allocate(length) : null;
    return address === null
      ? new Uint8Array(length)
      : new Uint8Array(this.#arena.buffer, address, length);
  }

  release(array: Float32Array | Uint8Array): void {
    if (this.#arena.owns(array)) this.#arena.free(array.byteOffset);
  }

  #run(pass: Pass, tasks: readonly KernelTask[]): SumsOfSquares[] {
    const placed = tasks.map((task) => placedWhole(task, this.#arena));
    this.#job.open(
      pass,
      placed.filter((task) => task !== null),
    );
    const staged = new Map(
      tasks
        .filter((_, index) => placed[index] === null)
        .map((task) => [task, this.#runStaged(pass, task)]),
    );
    this.#instance.exports.work(this.#job.address);
    const sums = this.#job.close().values();
    return tasks.map((task) => staged.get(task) ?? sums.next().value ?? NO_SUMS);
  }

  /** A layer that lies outside the kernels' memory, at least in part. */
  #runStaged(pass: Pass, task: KernelTask): SumsOfSquares {
    let total = NO_SUMS;
    this.#staging.forEachChunk(task, pass, (chunk: PlacedTask) => {
      this.#stagedJob.open(pass, [chunk]);
      this.#instance.exports.work(this.#stagedJob.address);
      for (const sums of this.#stagedJob.close()) total = addSums(total, sums);
    });
    return total;
  }
}
