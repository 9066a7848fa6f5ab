/** The memory of another WebAssembly program, where kernels reach its arrays without a copy. */
import type { Kernel, KernelTask, Momentum, SumsOfSquares } from "../../kernel.js";
import type { Pass } from "../job.js";
import { ThreadPool } from "../thread-pool.js";
import { WasmKernel } from "../wasm-kernel.js";
import type { PassRunner } from "../wasm-kernel.js";
import { Workspace } from "../workspace.js";
import { allocateIn } from "./heap-momentum.js";
import { isShared } from "./heap.js";
import type { Heap } from "./heap.js";

const ALIGNMENT = 64;

/** A memory, and the allocator of the program that it belongs to. */
export interface ForeignMemory {
  readonly memory: WebAssembly.Memory;
  /** @returns an address, or 0 when there is no room */
  malloc(bytes: number): number;
  free(address: number): void;
}

export class ForeignHeap implements Heap {
  readonly memory: WebAssembly.Memory;
  readonly #owner: ForeignMemory;
  /** What the owner's allocator returned, by the aligned address in it. */
  readonly #blocks = new Map<number, number>();
  #buffer: ArrayBufferLike;

  constructor(owner: ForeignMemory) {
    this.memory = owner.memory;
    this.#owner = owner;
    this.#buffer = owner.memory.buffer;
  }

  /** One object as long as the memory does not grow: engines may make others of shared memory at any time. */
  get buffer(): ArrayBufferLike {
    const { buffer } = this.memory;
    const isSame = isShared(this.memory) && buffer.byteLength === this.#buffer.byteLength;
    if (!isSame) this.#buffer = buffer;
    return this.#buffer;
  }

  /** Numbers of the other program, as an array that {@link owns} knows until the memory grows. */
  view(address: number, length: number): Float32Array {
    return new Float32Array(this.buffer, address, length);
  }

  owns(array: Float32Array | Uint8Array): boolean {
    return array.buffer === this.buffer;
  }

  allocate(bytes: number): number | null {
    const size = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    // Above 2 GiB C's addresses look negative.
    const block = this.#owner.malloc(size + ALIGNMENT) >>> 0;
    if (block === 0) return null;
    const address = Math.ceil(block / ALIGNMENT) * ALIGNMENT;
    this.#blocks.set(address, block);
    new Uint8Array(this.buffer, address, size).fill(0);
    return address;
  }

  free(address: number): void {
    const block = this.#blocks.get(address);
    if (block === undefined) return;
    this.#blocks.delete(address);
    this.#owner.free(block);
  }

  /** Makes room for so many bytes, so that allocating them moves nothing: growth would detach all views. */
  reserve(bytes: number): void {
    const block = this.#owner.malloc(bytes);
    if (block !== 0) this.#owner.free(block);
  }
}

/** Passes over layers in one such memory: on threads where it is shared, else on the caller's alone. */
class ForeignRunner implements PassRunner {
  readonly #workspace: Workspace;
  readonly pool: ThreadPool;

  constructor(heap: Heap) {
    this.#workspace = new Workspace(heap);
    this.pool = new ThreadPool(this.#workspace.instance, this.#workspace.job);
  }

  run(pass: Pass, tasks: readonly KernelTask[], mostThreads: number): SumsOfSquares[] {
    return this.#workspace.run(pass, tasks, this.pool.helpers(mostThreads));
  }

  allocateMomentum(kind: Momentum["kind"], size: number): Momentum | null {
    return allocateIn(this.#workspace.heap, kind, size);
  }
}

/** A memory is set up once: tables and jobs take 0.3 MB of it, and stay for the next optimizer. */
const runners = new WeakMap<Heap, ForeignRunner>();

/**
 * A kernel for one optimizer over another program's memory. Dispose of it with the optimizer.
 *
 * @param threads the most that a step may use; in memory that is not shared, the caller's is the only one
 * @throws WebAssembly.CompileError on an engine without WebAssembly SIMD, WebAssembly.LinkError for a memory without
 *   a maximum
 */
export function foreignKernel(heap: Heap, threads: number): Kernel {
  let runner = runners.get(heap);
  if (runner === undefined) {
    runner = new ForeignRunner(heap);
    runners.set(heap, runner);
  }
  return new WasmKernel(runner, threads);
}
