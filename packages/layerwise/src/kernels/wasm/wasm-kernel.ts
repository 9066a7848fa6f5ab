/** The WebAssembly kernel of one optimizer: the shared runtime, on the optimizer's number of threads. */
import { NO_SUMS } from "../kernel.js";
import type { Kernel, KernelTask, SumsOfSquares, UpdateEquation } from "../kernel.js";
import { referenceKernel } from "../reference.js";
import type { Pass } from "./job.js";
import type { WasmRuntime } from "./runtime.js";

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
  readonly #runtime: WasmRuntime;
  readonly #mostThreads: number;

  /** @param mostThreads the caller's own thread included */
  constructor(runtime: WasmRuntime, mostThreads: number) {
    this.#runtime = runtime;
    this.#mostThreads = mostThreads;
    runtime.pool.acquire(mostThreads);
  }

  get threads(): number {
    return this.#runtime.pool.threads(this.#mostThreads);
  }

  measure(tasks: readonly KernelTask[]): SumsOfSquares[] {
    return this.#run("measure", tasks);
  }

  apply(tasks: readonly KernelTask[]): SumsOfSquares[] {
    return this.#run("apply", tasks);
  }

  allocateFloat32(length: number): Float32Array {
    return this.#runtime.allocate(Float32Array, length);
  }

  allocateUint8(length: number): Uint8Array {
    return this.#runtime.allocate(Uint8Array, length);
  }

  release(array: Float32Array | Uint8Array): void {
    this.#runtime.release(array);
  }

  dispose(): void {
    this.#runtime.pool.release();
  }

  #run(pass: Pass, tasks: readonly KernelTask[]): SumsOfSquares[] {
    const fitting = tasks.filter(({ equation }) => fitsFloat32(equation));
    const sums = this.#runtime.run(pass, fitting, this.threads);
    if (fitting.length === tasks.length) return sums;
    const ours = sums.values();
    return tasks.map((task) => {
      if (fitsFloat32(task.equation)) return ours.next().value ?? NO_SUMS;
      return referenceKernel[pass]([task])[0] ?? NO_SUMS;
    });
  }
}
