/** The WebAssembly kernel of one optimizer: a runner of passes, on the optimizer's number of threads. */
import type { Momentum } from "../../state/momentum.js";
import { checkArrays, NO_SUMS } from "../kernel.js";
import type { Kernel, KernelTask, SumsOfSquares, UpdateEquation } from "../kernel.js";
import { referenceKernel } from "../reference.js";
import type { Pass } from "./job.js";
import type { HeapMomentum } from "./memory/heap-momentum.js";
import type { ThreadLease, ThreadPool } from "./thread-pool.js";

/** What decides where momentum goes. */
export interface MomentumPlace {
  /** Of the layer, if they are known. */
  readonly weights: Float32Array | undefined;
  /** That steps will use. */
  readonly mostThreads: number;
}

/** Who runs passes in WebAssembly: runtime.ts, or foreign-kernel.ts in another program's memory. */
export interface PassRunner {
  /** The threads beside the caller's, of all kernels on this runner. */
  readonly pool: ThreadPool;
  /** One pass over layers whose factors float32 holds. */
  run(pass: Pass, tasks: readonly KernelTask[], mostThreads: number): SumsOfSquares[];
  /** Momentum 0, or null when there is no room. */
  allocateMomentum(kind: Momentum["kind"], size: number, place: MomentumPlace): HeapMomentum | null;
}

const SMALLEST_NORMAL = 2 ** -126;
const LARGEST = 2 ** 128;

/**
 * Whether float32 holds an equation's factors without loss: a ratio of weights near 1 to gradients near
 * 1e-42 does not fit it, though their product does. Such a layer goes through the reference kernel.
 */
function fitsFloat32({ gradientFactor, weightFactor, stepSize }: UpdateEquation): boolean {
  return isHeld(gradientFactor) && isHeld(weightFactor) && isHeld(stepSize);
}

function isHeld(factor: number): boolean {
  const magnitude = Math.abs(factor);
  return magnitude === 0 || (magnitude >= SMALLEST_NORMAL && Math.fround(magnitude) < LARGEST);
}

/** One pass over layers, those whose factors float32 does not hold by the reference kernel. */
export function runPass(
  runner: PassRunner,
  pass: Pass,
  tasks: readonly KernelTask[],
  mostThreads: number,
): SumsOfSquares[] {
  checkArrays(tasks);
  if (tasks.every(({ equation }) => fitsFloat32(equation))) {
    return runner.run(pass, tasks, mostThreads);
  }
  const fitting = tasks.filter(({ equation }) => fitsFloat32(equation));
  const ours = runner.run(pass, fitting, mostThreads).values();
  return tasks.map((task) => {
    if (fitsFloat32(task.equation)) return ours.next().value ?? NO_SUMS;
    return referenceKernel[pass]([task])[0] ?? NO_SUMS;
  });
}

/** What a kernel holds of memory and threads, to be given back once: by dispose(), or when the kernel is collected. */
class Holdings {
  readonly momenta = new Set<HeapMomentum>();
  readonly #lease: ThreadLease;

  constructor(lease: ThreadLease) {
    this.#lease = lease;
  }

  release(): void {
    for (const momentum of this.momenta) momentum.free();
    this.momenta.clear();
    this.#lease.release();
  }
}

/** An optimizer that nobody can reach and nobody disposed of takes its kernel along. */
const abandoned = new FinalizationRegistry<Holdings>((holdings) => {
  holdings.release();
});

export class WasmKernel implements Kernel {
  readonly name = "wasm";
  readonly #runner: PassRunner;
  readonly #mostThreads: number;
  readonly #holdings: Holdings;

  /** @param mostThreads the caller's own thread included */
  constructor(runner: PassRunner, mostThreads: number) {
    this.#runner = runner;
    this.#mostThreads = mostThreads;
    this.#holdings = new Holdings(runner.pool.acquire(mostThreads));
    abandoned.register(this, this.#holdings, this);
  }

  get threads(): number {
    return this.#runner.pool.threads(this.#mostThreads);
  }

  measure(tasks: readonly KernelTask[]): SumsOfSquares[] {
    return runPass(this.#runner, "measure", tasks, this.#mostThreads);
  }

  apply(tasks: readonly KernelTask[]): SumsOfSquares[] {
    return runPass(this.#runner, "apply", tasks, this.#mostThreads);
  }

  allocateMomentum(kind: Momentum["kind"], size: number, weights?: Float32Array): Momentum {
    const place = { weights, mostThreads: this.#mostThreads };
    const momentum = this.#runner.allocateMomentum(kind, size, place);
    if (momentum === null) return referenceKernel.allocateMomentum(kind, size);
    this.#holdings.momenta.add(momentum);
    return momentum;
  }

  releaseMomentum(momentum: Momentum): void {
    const ours = momentum as HeapMomentum;
    if (this.#holdings.momenta.delete(ours)) ours.free();
  }

  dispose(): void {
    abandoned.unregister(this);
    this.#holdings.release();
  }
}
