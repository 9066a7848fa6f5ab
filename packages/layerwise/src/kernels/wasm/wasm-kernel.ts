/** The WebAssembly kernel of one optimizer: a runner of passes, on the optimizer's number of threads. */
import { NO_SUMS } from "../kernel.js";
import type { Kernel, KernelTask, Momentum, SumsOfSquares, UpdateEquation } from "../kernel.js";
import { referenceKernel } from "../reference.js";
import type { Pass } from "./job.js";
import { freeMomentum } from "./memory/heap-momentum.js";
import type { ThreadPool } from "./thread-pool.js";

/** What decides where momentum goes. */
export interface MomentumPlace {
  /** Of the layer, if they are known. */
  readonly weights: Float32Array | undefined;
  /** That steps will use. */
  readonly mostThreads: number;
}

/** Who runs passes in WebAssembly: runtime.ts, or a heap of another program's. */
export interface PassRunner {
  /** The threads beside the caller's, of all kernels on this runner. */
  readonly pool: ThreadPool;
  /** One pass over layers whose factors float32 holds. */
  run(pass: Pass, tasks: readonly KernelTask[], mostThreads: number): SumsOfSquares[];
  /** Momentum 0, or null when there is no room. */
  allocateMomentum(kind: Momentum["kind"], size: number, place: MomentumPlace): Momentum | null;
}

const SMALLEST_NORMAL = 2 ** -126;
const LARGEST = 2 ** 128;

/**
 * Whether float32 holds an equation's factors without loss: a ratio of weights near 1 to gradients near
 * 1e-42 does not fit it, though their product does. Such a layer goes through the reference kernel.
 */
function fitsFloat32({ gradientFactor, weightFactor, stepSize }: UpdateEquation): boolean {
  return [gradientFactor, weightFactor, stepSize].every((factor) => {
    const magnitude = Math.abs(factor);
    return magnitude === 0 || (magnitude >= SMALLEST_NORMAL && Math.fround(magnitude) < LARGEST);
  });
}

export class WasmKernel implements Kernel {
  readonly name = "wasm";
  readonly #runner: PassRunner;
  readonly #mostThreads: number;

  /** @param mostThreads the caller's own thread included */
  constructor(runner: PassRunner, mostThreads: number) {
    this.#runner = runner;
    this.#mostThreads = mostThreads;
    runner.pool.acquire(mostThreads);
  }

  get threads(): number {
    return this.#runner.pool.threads(this.#mostThreads);
  }

  measure(tasks: readonly KernelTask[]): SumsOfSquares[] {
    return this.#run("measure", tasks);
  }

  apply(tasks: readonly KernelTask[]): SumsOfSquares[] {
    return this.#run("apply", tasks);
  }

  allocateMomentum(kind: Momentum["kind"], size: number, weights?: Float32Array): Momentum {
    const place = { weights, mostThreads: this.#mostThreads };
    return (
      this.#runner.allocateMomentum(kind, size, place) ??
      referenceKernel.allocateMomentum(kind, size)
    );
  }

  releaseMomentum(momentum: Momentum): void {
    freeMomentum(momentum);
  }

  dispose(): void {
    this.#runner.pool.release();
  }

  #run(pass: Pass, tasks: readonly KernelTask[]): SumsOfSquares[] {
    const fitting = tasks.filter(({ equation }) => fitsFloat32(equation));
    const sums = this.#runner.run(pass, fitting, this.#mostThreads);
    if (fitting.length === tasks.length) return sums;
    const ours = sums.values();
    return tasks.map((task) => {
      if (fitsFloat32(task.equation)) return ours.next().value ?? NO_SUMS;
      return referenceKernel[pass]([task])[0] ?? NO_SUMS;
    });
  }
}
