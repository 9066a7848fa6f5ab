/** Momentum in a heap that kernels reach without copying. */
import { blockCount } from "../../../state/blockwise.js";
import type { BlockwiseMomentum, Float32Momentum, Momentum } from "../../kernel.js";
import { HeapArray } from "./heap.js";
import type { Heap } from "./heap.js";

/** Its arrays are looked up at each use: see {@link HeapArray}. */
interface HeapMomentum {
  free(): void;
}

class HeapFloat32 implements Float32Momentum, HeapMomentum {
  readonly kind = "float32";
  readonly #values: HeapArray<Float32Array>;

  constructor(values: HeapArray<Float32Array>) {
    this.#values = values;
  }

  get values(): Float32Array {
    return this.#values.view;
  }

  free(): void {
    this.#values.free();
  }
}

class HeapBlockwise implements BlockwiseMomentum, HeapMomentum {
  readonly kind = "blockwise";
  readonly #codes: HeapArray<Uint8Array>;
  readonly #absmax: HeapArray<Float32Array>;

  constructor(codes: HeapArray<Uint8Array>, absmax: HeapArray<Float32Array>) {
    this.#codes = codes;
    this.#absmax = absmax;
  }

  get codes(): Uint8Array {
    return this.#codes.view;
  }

  get absmax(): Float32Array {
    return this.#absmax.view;
  }

  free(): void {
    this.#codes.free();
    this.#absmax.free();
  }
}

/** Momentum 0, or null when there is no room. */
export function allocateIn(heap: Heap, kind: Momentum["kind"], size: number): Momentum | null {
  if (kind === "float32") {
    const values = HeapArray.allocate(heap, Float32Array, size);
    return values === null ? null : new HeapFloat32(values);
  }
  const codes = HeapArray.allocate(heap, Uint8Array, size);
  const absmax = HeapArray.allocate(heap, Float32Array, blockCount(size));
  if (codes !== null && absmax !== null) return new HeapBlockwise(codes, absmax);
  codes?.free();
  absmax?.free();
  return null;
}

/** Gives back what {@link allocateIn} returned; other momentum is left alone. */
export function freeMomentum(momentum: Momentum): void {
  if (momentum instanceof HeapFloat32 || momentum instanceof HeapBlockwise) momentum.free();
}
