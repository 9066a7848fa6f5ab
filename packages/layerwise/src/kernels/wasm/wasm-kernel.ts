/** The WebAssembly kernel: cuts layers into chunks and hands them to the SIMD loops in assembly/. */
import { BLOCK_SIZE } from "../../state/codebook.js";
import { addSums, CHUNK_SIZE, NO_SUMS } from "../kernel.js";
import type { Kernel, KernelTask, LayerArrays, SumsOfSquares } from "../kernel.js";
import type { Arena } from "./arena.js";
import { instantiate } from "./instance.js";
import type { KernelExports } from "./instance.js";
import { Slot } from "./staging.js";
import { readSums, TASK_BYTES, writeChunk, writeEquation } from "./task-layout.js";

type Pass = "measure" | "apply";

export class WasmKernel implements Kernel {
  readonly name = "wasm";
  readonly #arena: Arena;
  readonly #exports: KernelExports;
  readonly #isShared: boolean;
  readonly #task: number;
  readonly #slots: Record<"weights" | "gradient" | "momentum" | "absmax", Slot>;

  /** @throws WebAssembly.CompileError on an engine without WebAssembly SIMD */
  constructor() {
    const { arena, exports, isShared } = instantiate();
    const task = arena.allocate(TASK_BYTES);
    if (task === null) throw new RangeError("no memory for the kernels' tasks");
    this.#arena = arena;
    this.#exports = exports;
    this.#isShared = isShared;
    this.#task = task;
    this.#slots = {
      weights: new Slot(arena),
      gradient: new Slot(arena),
      momentum: new Slot(arena),
      absmax: new Slot(arena),
    };
  }

  measure(tasks: readonly KernelTask[]): SumsOfSquares[] {
    return tasks.map((task) => this.#run(task, "measure"));
  }

  apply(tasks: readonly KernelTask[]): SumsOfSquares[] {
    return tasks.map((task) => this.#run(task, "apply"));
  }

  allocateFloat32(length: number): Float32Array {
    const address = this.#isShared ? this.#arena.allocate(length * 4) : null;
    return address === null
      ? new Float32Array(length)
      : new Float32Array(this.#arena.buffer, address, length);
  }

  allocateUint8(length: number): Uint8Array {
    const address = this.#isShared ? this.#arena.allocate(length) : null;
    return address === null
      ? new Uint8Array(length)
      : new Uint8Array(this.#arena.buffer, address, length);
  }

  release(array: Float32Array | Uint8Array): void {
    if (this.#arena.owns(array)) this.#arena.free(array.byteOffset);
  }

  #run(task: KernelTask, pass: Pass): SumsOfSquares {
    const { arrays, sums } = task;
    const view = new DataView(this.#arena.buffer, this.#task, TASK_BYTES);
    writeEquation(view, task);
    let total = NO_SUMS;
    const size = arrays.weights.length;
    for (let start = 0; start < size; start += CHUNK_SIZE) {
      const end = Math.min(start + CHUNK_SIZE, size);
      this.#bring(view, arrays, start, end);
      this.#exports[pass](this.#task);
      total = addSums(total, readSums(view));
      if (pass === "apply") this.#putBack(arrays, start, end);
    }
    return {
      weights: sums.weights ? total.weights : 0,
      gradient: total.gradient,
      update: sums.update ? total.update : 0,
    };
  }

  #bring(view: DataView, arrays: LayerArrays, start: number, end: number): void {
    const { weights, gradient, momentum } = arrays;
    const slots = this.#slots;
    const addresses = {
      weights: slots.weights.bring(weights, start, end),
      gradient: slots.gradient.bring(gradient, start, end),
      momentum: 0,
      absmax: 0,
    };
    if (momentum?.kind === "float32") {
      addresses.momentum = slots.momentum.bring(momentum.values, start, end);
    } else if (momentum?.kind === "blockwise") {
      addresses.momentum = slots.momentum.bring(momentum.codes, start, end);
      const [first, last] = blocksOf(start, end);
      addresses.absmax = slots.absmax.bring(momentum.absmax, first, last);
    }
    writeChunk(view, addresses, end - start);
  }

  #putBack(arrays: LayerArrays, start: number, end: number): void {
    const { weights, momentum } = arrays;
    const slots = this.#slots;
    slots.weights.putBack(weights, start, end);
    if (momentum?.kind === "float32") {
      slots.momentum.putBack(momentum.values, start, end);
    } else if (momentum?.kind === "blockwise") {
      slots.momentum.putBack(momentum.codes, start, end);
      slots.absmax.putBack(momentum.absmax, ...blocksOf(start, end));
    }
  }
}

/** The quantisation blocks of elements [start, end); a chunk starts with a block. */
function blocksOf(start: number, end: number): [number, number] {
  return [start / BLOCK_SIZE, Math.ceil(end / BLOCK_SIZE)];
}
