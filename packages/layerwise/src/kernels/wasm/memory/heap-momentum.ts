/** Momentum in a heap that kernels reach without copying. */
import { blockCount } from "../../../state/blockwise.js";
import type { BlockwiseMomentum, Float32Momentum, Momentum } from "../../../state/momentum.js";
import { HeapArray } from "./allocation.js";
import type { Allocation } from "./allocation.js";
import type { Heap } from "./heap.js";

/** Momentum that lies in a heap, to be freed once. */
export type HeapMomentum = Momentum & { free(): void };

class HeapFloat32 implements Float32Momentum {
  readonly kind = "float32";
  readonly #allocation: Allocation;
  readonly #values: HeapArray<Float32Array>;

  constructor(allocation: Allocation, size: number) {
    this.#allocation = allocation;
    this.#values = new HeapArray(allocation.memory, () => allocation.view(Float32Array, size));
  }

  get values(): Float32Array {
    return this.#values.view;
  }

  free(): void {
    this.#allocation.free();
  }
}

class HeapBlockwise implements BlockwiseMomentum {
  readonly kind = "blockwise";
  readonly #allocations: readonly Allocation[];
  readonly #codes: HeapArray<Uint8Array>;
  readonly #absmax: HeapArray<Float32Array>;

  constructor(codes: Allocation, absmax: Allocation, size: number) {
    this.#allocations = [codes, absmax];
    this.#codes = new HeapArray(codes.memory, () => codes.view(Uint8Array, size));
    const blocks = blockCount(size);
    this.#absmax = new HeapArray(absmax.memory, () => absmax.view(Float32Array, blocks));
  }

  get codes(): Uint8Array {
    return this.#codes.view;
  }

  get absmax(): Float32Array {
    return this.#absmax.view;
  }

  free(): void {
    for (const allocation of this.#allocations) allocation.free();
  }
}

/** Momentum 0, or null when there is no room. */
export function allocateMomentumIn(
  heap: Heap,
  kind: Momentum["kind"],
  size: number,
): HeapMomentum | null {
  if (kind === "float32") {
    const values = heap.allocate(4 * size);
    return values === null ? null : new HeapFloat32(values, size);
  }
  const codes = heap.allocate(size);
  const absmax = heap.allocate(4 * blockCount(size));
  if (codes !== null && absmax !== null) return new HeapBlockwise(codes, absmax, size);
  codes?.free();
  absmax?.free();
  return null;
}
