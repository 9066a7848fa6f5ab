/** The memory of another WebAssembly program, where kernels reach its arrays without a copy. */
import type { Kernel, KernelTask, Momentum, SumsOfSquares } from "../kernel.js";
import { allocateIn, freeMomentum } from "./heap-momentum.js";
import type { Heap } from "./heap.js";
import type { Pass } from "./job.js";
import { WasmKernel } from "./wasm-kernel.js";
import type { PassRunner } from "./wasm-kernel.js";
import { Workspace } from "./workspace.js";

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

  constructor(owner: ForeignMemory) {
    this.memory = owner.memory;
    this.#owner = owner;
  }

  get buffer(): ArrayBufferLike {
    return this.memory.buffer;
  }

  owns(array: Float32Array | Uint8Array): boolean {
    return array.buffer === this.memory.buffer;
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

class ForeignRunner implements PassRunner {
  readonly #workspace: Workspace;

  constructor(heap: Heap) {
    this.#workspace = new Workspace(heap);
  }

  run(pass: Pass, tasks: readonly KernelTask[]): SumsOfSquares[] {
    return this.#workspace.run(pass, tasks, null);
  }

  allocateMomentum(kind: Momentum["kind"], size: number): Momentum | null {
    return allocateIn(this.#workspace.heap, kind, size);
  }

  releaseMomentum(momentum: Momentum): void {
    freeMomentum(momentum);
  }

  threads(): number {
    return 1;
  }

  acquire(): void {
    // There are no threads to start: the other program's memory is its own.
  }

  dispose(): void {
    // Tables and jobs stay for the next optimizer on the same memory.
  }
}

/** Kernels over a memory are set up once: they hold 0.3 MB of it. */
const kernels = new WeakMap<Heap, Kernel>();

/**
 * The kernel over another program's memory, on the caller's thread.
 *
 * @throws WebAssembly.CompileError on an engine without WebAssembly SIMD, WebAssembly.LinkError for a memory without
 *   a maximum
 */
export function foreignKernel(heap: Heap): Kernel {
  let kernel = kernels.get(heap);
  if (kernel === undefined) {
    kernel = new WasmKernel(new ForeignRunner(heap), 1);
    kernels.set(heap, kernel);
  }
  return kernel;
}
