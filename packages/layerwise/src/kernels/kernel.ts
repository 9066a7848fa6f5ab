/**
 * What a kernel does: the two passes of a step that touch arrays, *measure* and *apply*.
 *
 * Kernels know nothing about options or rules. They take arrays and the numbers of an
 * {@link UpdateEquation}, and return sums of squares, which add up over ranges, threads
 * and the shards of a cluster.
 */

import { momentumSize } from "../state/momentum.js";
import type { Momentum } from "../state/momentum.js";

/** The arrays of one layer, or of one shard of it. All have the same number of elements. */
export interface LayerArrays {
  readonly weights: Float32Array;
  readonly gradient: Float32Array;
  /** null: the layer keeps no momentum, and the update is the direction. */
  readonly momentum: Momentum | null;
}

/**
 * A layer's step as numbers. With weights w, gradient g and stored momentum m (0 on a first step):
 *
 *     d = gradientFactor·g + weightFactor·w
 *     m ← decay·m + accumulation·d        (without momentum: m = d, not kept)
 *     u = m, or d + lookahead·m           (lookahead > 0: Nesterov)
 *     w ← w − stepSize·u
 */
export interface UpdateEquation {
  readonly gradientFactor: number;
  readonly weightFactor: number;
  readonly decay: number;
  readonly accumulation: number;
  readonly lookahead: number;
  readonly stepSize: number;
  /** Elements whose gradient is exactly 0 keep w and m, and count 0 in the sum of u². */
  readonly skipZeros: boolean;
}

/** Which sums of squares a pass should return. */
export interface SumsWanted {
  readonly weights: boolean;
  readonly update: boolean;
}

/** Work on one layer. */
export interface KernelTask {
  readonly arrays: LayerArrays;
  readonly equation: UpdateEquation;
  readonly sums: SumsWanted;
}

/** Sums of squares, in float64; 0 if a sum was not requested. They add up over ranges and shards. */
export interface SumsOfSquares {
  readonly weights: number;
  /** Of the unscaled gradient. NaN or Infinity if and only if an element is not finite. */
  readonly gradient: number;
  readonly update: number;
}

/**
 * Throws for arrays that do not belong together. Views of memory that has grown or been freed are empty, and a kernel
 * would read or write whatever is there now.
 *
 * @throws RangeError for arrays of different lengths
 */
export function checkArrays(tasks: readonly KernelTask[]): void {
  for (const { arrays } of tasks) {
    const { weights, gradient, momentum } = arrays;
    const size = weights.byteLength / 4;
    const stored = momentum === null ? size : momentumSize(momentum);
    if (gradient.byteLength !== weights.byteLength || stored !== size) {
      throw new RangeError(
        `kernel: expected weights, gradient and momentum of one length, got ${String(size)}, ${String(gradient.byteLength / 4)} and ${String(stored)}`,
      );
    }
  }
}

export const NO_SUMS: SumsOfSquares = { weights: 0, gradient: 0, update: 0 };

/** Adds the sums of two ranges or shards. Add in a fixed order: float64 addition is not associative. */
export function addSums(a: SumsOfSquares, b: SumsOfSquares): SumsOfSquares {
  return {
    weights: a.weights + b.weights,
    gradient: a.gradient + b.gradient,
    update: a.update + b.update,
  };
}

/**
 * Elements per partial sum, and per piece of work. A layer is always cut at multiples of this, so
 * its sums have the same bits on any number of threads. It is a multiple of the quantization
 * block, and 32,768 float32 weights and gradients easily fit a second-level cache.
 */
export const CHUNK_SIZE = 32768;

export interface Kernel {
  readonly name: string;
  /** Threads that a step uses, including the caller's. */
  readonly threads: number;

  /**
   * Sums of squares of each task, without writing anything. The update's sum is that of u as
   * {@link apply} would compute it for the same equation. The gradient's sum is always included.
   */
  measure(tasks: readonly KernelTask[]): SumsOfSquares[];

  /**
   * Writes weights and momentum. The sums are of the weights *before* the step and of the update;
   * the gradient's is 0.
   */
  apply(tasks: readonly KernelTask[]): SumsOfSquares[];

  /**
   * Momentum 0, in memory that the kernel reaches without copying if there is room.
   *
   * @param weights of the layer, if known: momentum is best placed in the same memory
   */
  allocateMomentum(kind: Momentum["kind"], size: number, weights?: Float32Array): Momentum;
  /**
   * For kernels that hold a part of a layer's momentum only: that part of the whole, in the same memory.
   *
   * @param weights of the layer
   */
  partOf?(whole: Momentum, weights: Float32Array): Momentum;
  /** Frees momentum that this kernel allocated; ignores other momentum. */
  releaseMomentum(momentum: Momentum): void;
  /** Ends threads that no other kernel uses. */
  dispose(): void;
}
