/** Momentum in a heap that kernels reach without copying. */
import { blockCount } from "../../../state/blockwise.js";
import type { BlockwiseMomentum, Float32Momentum, Momentum } from "../../../state/momentum.js";
import type { Allocation, ArrayType } from "./allocation.js";
import type { Heap } from "./heap.js";

/** An array in an allocation. Its view is taken anew when the heap has grown. */
class HeapArray<A extends Float32Array | Uint8Array> {
  readonly #heap: Heap;
  readonly #allocation: Allocation;
  readonly #type: ArrayType<A>;
  readonly #length: number;
  #view: A;

  constructor(heap: Heap, allocation: Allocation, type: ArrayType<A>, length: number) {
    this.#heap = heap;
    this.#allocation = allocation;
    this.#type = type;
    this.#length = length;
    this.#view = allocation.view(type, length);
  }

  get view(): A {
    if (this.#view.buffer !== this.#heap.buffer) {
      this.#view = this.#allocation.view(this.#type, this.#length);
    }
    return this.#view;
  }
}

/** Momentum that lies in a heap, to be freed once. */
export type HeapMomentum = Momentum & { free(): void };

class HeapFloat32 implements Float32Momentum {
  readonly kind = "float32";
  readonly #allocation: Allocation;
  readonly #values: HeapArray<Float32Array>;

  constructor(heap: Heap, allocation: Allocation, size: number) {
    this.#allocation = allocation;
    this.#values = new HeapArray(heap, allocation, Float32Array, size);
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
  readonly #allocations: readonly [Allocation, Allocation];
  readonly #codes: HeapArray<Uint8Array>;
  readonly #absmax: HeapArray<Float32Array>;

  constructor(heap: Heap, allocations: readonly [Allocation, Allocation], size: number) {
    this.#allocations = allocations;
    this.#codes = new HeapArray(heap, allocations[0], Uint8Array, size);
    this.#absmax = new HeapArray(heap, allocations[1], Float32Array, blockCount(size));
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
    return values === null ? null : new HeapFloat32(heap, values, size);
  }
  const codes = heap.allocate(size);
  const absmax = heap.allocate(4 * blockCount(size));
  if (codes !== null && absmax !== null) return new HeapBlockwise(heap, [codes, absmax], size);
  codes?.free();
  absmax?.free();
  return null;
}
