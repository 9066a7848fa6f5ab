/** The WebAssembly kernel of one optimizer: the shared runtime, on the optimizer's number of threads. */
import type { Kernel, KernelTask, SumsOfSquares } from "../kernel.js";
import type { WasmRuntime } from "./runtime.js";

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
    return this.#runtime.run("measure", tasks, this.threads);
  }

  apply(tasks: readonly KernelTask[]): SumsOfSquares[] {
    return this.#runtime.run("apply", tasks, this.threads);
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
}
