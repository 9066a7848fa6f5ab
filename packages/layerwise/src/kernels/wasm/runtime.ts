/**
 * What all WebAssembly kernels of a program share: two memories, and the threads.
 *
 * Parameters that were allocated lie in shared memory with their state, where threads reach them. All else
 * passes through: through shared memory where other threads work while the caller copies, through unshared memory
 * where it is alone, since V8 copies into that twice as fast (35 against 17 GB/s). Measured over 2^25 elements: 32 and
 * 44 ms on two threads.
 */
import { CHUNK_SIZE, NO_SUMS } from "../kernel.js";
import type { KernelTask, Momentum, SumsOfSquares } from "../kernel.js";
import type { Pass } from "./job.js";
import { allocateIn } from "./memory/heap-momentum.js";
import { isShared } from "./memory/heap.js";
import { createSharedHeap, createUnsharedHeap } from "./memory/own-heap.js";
import { MOST_CHUNKS, touches } from "./memory/staging.js";
import { ThreadPool } from "./thread-pool.js";
import type { MomentumPlace, PassRunner } from "./wasm-kernel.js";
import { Workspace } from "./workspace.js";

/** Fewer are done before the others have woken up. */
const LEAST_BATCHES = 8;

export class WasmRuntime implements PassRunner {
  /** Over shared memory, where the platform has it. */
  readonly #main: Workspace;
  readonly pool: ThreadPool;
  #unshared: Workspace | null = null;

  /** @throws WebAssembly.CompileError on an engine without WebAssembly SIMD */
  constructor() {
    this.#main = new Workspace(createSharedHeap() ?? createUnsharedHeap());
    this.pool = new ThreadPool(this.#main.instance, this.#main.job);
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

  allocateMomentum(
    kind: Momentum["kind"],
    size: number,
    { weights, mostThreads }: MomentumPlace,
  ): Momentum | null {
    const { heap } = this.#main;
    const isMain = weights === undefined || heap.owns(weights) || this.#hasHelp(size, mostThreads);
    return allocateIn(isMain ? heap : this.#alone.heap, kind, size);
  }

  run(pass: Pass, tasks: readonly KernelTask[], mostThreads: number): SumsOfSquares[] {
    const isMain = tasks.map((task) => this.#isForMain(task, mostThreads));
    const inMain = tasks.filter((_, index) => isMain[index]);
    const sums = this.#main.run(pass, inMain, this.pool.helpers(mostThreads));
    if (inMain.length === tasks.length) return sums;
    const others = tasks.filter((_, index) => isMain[index] === false);
    const [ours, theirs] = [sums.values(), this.#alone.run(pass, others, null).values()];
    return isMain.map((isOurs) => (isOurs ? ours : theirs).next().value ?? NO_SUMS);
  }

  #isForMain(task: KernelTask, mostThreads: number): boolean {
    const { weights, momentum } = task.arrays;
    if (touches(task, this.#main.heap)) return true;
    return momentum === null && this.#hasHelp(weights.length, mostThreads);
  }

  /** Whether other threads can work on a layer of such a size while the caller copies more of it. */
  #hasHelp(size: number, mostThreads: number): boolean {
    return this.pool.threads(mostThreads) > 1 && size >= LEAST_BATCHES * MOST_CHUNKS * CHUNK_SIZE;
  }

  get #alone(): Workspace {
    if (!isShared(this.#main.heap.memory)) return this.#main;
    this.#unshared ??= new Workspace(createUnsharedHeap());
    return this.#unshared;
  }
}
