/** Kernels in another program's memory. */
import type { Momentum } from "../../state/momentum.js";
import type { Kernel, KernelTask, SumsOfSquares } from "../kernel.js";
import type { Pass } from "./job.js";
import { allocateMomentumIn } from "./memory/heap-momentum.js";
import type { HeapMomentum } from "./memory/heap-momentum.js";
import type { Heap } from "./memory/heap.js";
import { ThreadPool } from "./thread-pool.js";
import { WasmKernel } from "./wasm-kernel.js";
import type { PassRunner } from "./wasm-kernel.js";
import { Workspace } from "./workspace.js";

/** Passes over layers in one such memory: on threads where it is shared, else on the caller's alone. */
class ForeignRunner implements PassRunner {
  readonly #workspace: Workspace;
  readonly pool: ThreadPool;

  constructor(heap: Heap) {
    this.#workspace = new Workspace(heap);
    this.pool = new ThreadPool(this.#workspace);
  }

  run(pass: Pass, tasks: readonly KernelTask[], mostThreads: number): SumsOfSquares[] {
    return this.#workspace.run(pass, tasks, this.pool.helpers(mostThreads));
  }

  allocateMomentum(kind: Momentum["kind"], size: number): HeapMomentum | null {
    return allocateMomentumIn(this.#workspace.heap, kind, size);
  }
}

/** A memory is set up once: tables, a job and a bank take 0.8 MB of it, and stay for the next optimizer. */
const runners = new WeakMap<Heap, ForeignRunner>();

/**
 * A kernel for one optimizer over another program's memory. Dispose of it with the optimizer.
 *
 * @param threads the most that a step may use; in memory that is not shared, the caller's is the only one
 * @throws WebAssembly.CompileError on an engine without WebAssembly SIMD, WebAssembly.LinkError for a memory without
 *   a maximum, RangeError when the memory is full
 */
export function foreignKernel(heap: Heap, threads: number): Kernel {
  let runner = runners.get(heap);
  if (runner === undefined) {
    runner = new ForeignRunner(heap);
    runners.set(heap, runner);
  }
  return new WasmKernel(runner, threads);
}
