/**
 * What all WebAssembly kernels of a program share: two memories, and the threads.
 *
 * Allocated parameters and their state lie in shared memory, where threads reach them. Everything else
 * passes through: through shared memory if other threads work while the caller copies, else through unshared memory,
 * into which V8 copies twice as fast (35 instead of 17 GB/s). Measured over 2^25 elements on two threads: 32 and
 * 44 ms.
 */
import type { Momentum } from "../../state/momentum.js";
import { CHUNK_SIZE, NO_SUMS } from "../kernel.js";
import type { KernelTask, SumsOfSquares } from "../kernel.js";
import type { Pass } from "./job.js";
import type { Allocation } from "./memory/allocation.js";
import { allocateMomentumIn } from "./memory/heap-momentum.js";
import type { HeapMomentum } from "./memory/heap-momentum.js";
import { createSharedHeap, createUnsharedHeap } from "./memory/own-heap.js";
import { MOST_CHUNKS, touches } from "./memory/staging.js";
import { ThreadPool } from "./thread-pool.js";
import type { MomentumPlace, PassRunner } from "./wasm-kernel.js";
import { Workspace } from "./workspace.js";

/** Fewer batches are finished before other threads have woken. */
const LEAST_BATCHES = 8;

export class WasmRuntime implements PassRunner {
  /** Over shared memory, where the platform has it. */
  readonly #main: Workspace;
  readonly pool: ThreadPool;
  /** Over unshared memory; undefined until it is needed, null when the platform has no room for it. */
  #unshared: Workspace | null | undefined;

  /**
   * @throws WebAssembly.CompileError on an engine without WebAssembly SIMD; RangeError where the platform has no memory
   *   left
   */
  constructor() {
    this.#main = new Workspace(createSharedHeap() ?? createUnsharedHeap());
    this.pool = new ThreadPool(this.#main);
  }

  /**
   * This many float32 zeros in the kernels' memory, or null if it is full or its views would not survive its
   * growth. The caller owns them.
   */
  allocateFloat32(length: number): Allocation | null {
    const { heap } = this.#main;
    return heap.isShared ? heap.allocate(4 * length) : null;
  }

  allocateMomentum(
    kind: Momentum["kind"],
    size: number,
    { weights, mostThreads }: MomentumPlace,
  ): HeapMomentum | null {
    const { heap } = this.#main;
    const isMain = weights === undefined || heap.holds(weights) || this.#hasHelp(size, mostThreads);
    return allocateMomentumIn(isMain ? heap : this.#alone.heap, kind, size);
  }

  run(pass: Pass, tasks: readonly KernelTask[], mostThreads: number): SumsOfSquares[] {
    const helpers = this.pool.helpers(mostThreads);
    const isMain = tasks.map((task) => this.#isForMain(task, mostThreads));
    if (!isMain.includes(false)) return this.#main.run(pass, tasks, helpers);
    const inMain = tasks.filter((_, index) => isMain[index]);
    const others = tasks.filter((_, index) => isMain[index] === false);
    const ours = this.#main.run(pass, inMain, helpers).values();
    const theirs = this.#alone.run(pass, others, null).values();
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

  /** The workspace for layers that pass through on the caller's thread alone. */
  get #alone(): Workspace {
    if (this.#unshared === undefined) {
      this.#unshared = this.#main.heap.isShared ? unsharedWorkspace() : null;
    }
    return this.#unshared ?? this.#main;
  }
}

/** Null if the platform has no room. Then everything passes through the first memory. */
function unsharedWorkspace(): Workspace | null {
  try {
    return new Workspace(createUnsharedHeap());
  } catch {
    return null;
  }
}
