/**
 * What all WebAssembly kernels of a program share: two memories, and the threads.
 *
 * Parameters that were allocated lie in shared memory with their state, where threads reach them. All else
 * passes through unshared memory on the caller's thread: nobody else could copy it, and V8 copies into
 * unshared memory twice as fast (measured: 35 against 17 GB/s).
 */
import type { KernelTask, Momentum, SumsOfSquares } from "../kernel.js";
import { NO_SUMS } from "../kernel.js";
import { allocateIn, freeMomentum } from "./heap-momentum.js";
import type { Heap } from "./heap.js";
import { isShared } from "./heap.js";
import type { Pass } from "./job.js";
import { createSharedHeap, createUnsharedHeap } from "./own-heap.js";
import { touches } from "./staging.js";
import { ThreadPool } from "./thread-pool.js";
import type { PassRunner } from "./wasm-kernel.js";
import { Workspace } from "./workspace.js";

export class WasmRuntime implements PassRunner {
  /** Over shared memory, where the platform has it. */
  readonly #main: Workspace;
  readonly #pool: ThreadPool;
  #unshared: Workspace | null = null;

  /** @throws WebAssembly.CompileError on an engine without WebAssembly SIMD */
  constructor() {
    this.#main = new Workspace(createSharedHeap() ?? createUnsharedHeap());
    this.#pool = new ThreadPool(this.#main.instance, this.#main.job);
  }

  /** Zeros in the kernels' memory while it lasts, else outside. */
  allocateFloat32(length: number): Float32Array {
    const { heap } = this.#main;
    // Views of unshared memory would not outlive its growth.
    const address = isShared(heap.memory) ? heap.allocate(4 * length) : null;
    return address === null
      ? new Float32Array(length)
      : new Float32Array(heap.buffer, address, length);
  }

  /** Gives back what {@link allocateFloat32} returned; other arrays are left alone. */
  release(array: Float32Array): void {
    const { heap } = this.#main;
    if (heap.owns(array)) heap.free(array.byteOffset);
  }

  allocateMomentum(kind: Momentum["kind"], size: number, weights?: Float32Array): Momentum | null {
    return allocateIn(this.#heapFor(weights), kind, size);
  }

  releaseMomentum(momentum: Momentum): void {
    freeMomentum(momentum);
  }

  run(pass: Pass, tasks: readonly KernelTask[], mostThreads: number): SumsOfSquares[] {
    const isInside = tasks.map((task) => touches(task, this.#main.heap));
    const inside = tasks.filter((_, index) => isInside[index]);
    const sums = this.#main.run(pass, inside, this.#pool.helpers(mostThreads));
    if (inside.length === tasks.length) return sums;
    const outside = tasks.filter((_, index) => isInside[index] === false);
    const others = this.#outside.run(pass, outside, null).values();
    const ours = sums.values();
    return isInside.map((isOurs) => (isOurs ? ours : others).next().value ?? NO_SUMS);
  }

  threads(most: number): number {
    return this.#pool.threads(most);
  }

  acquire(threads: number): void {
    this.#pool.acquire(threads);
  }

  dispose(): void {
    this.#pool.release();
  }

  #heapFor(weights: Float32Array | undefined): Heap {
    const { heap } = this.#main;
    return weights === undefined || heap.owns(weights) ? heap : this.#outside.heap;
  }

  get #outside(): Workspace {
    if (!isShared(this.#main.heap.memory)) return this.#main;
    this.#unshared ??= new Workspace(createUnsharedHeap());
    return this.#unshared;
  }
}
