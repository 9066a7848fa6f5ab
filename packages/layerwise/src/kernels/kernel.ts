/**
 * What a kernel does: the two passes of a step that touch arrays, *measure* and *apply*.
 *
 * Kernels know nothing of options or rules. They get arrays and the numbers of an
 * {@link UpdateEquation} and give back sums of squares, which can be added up over ranges, threads
 * and the shards of a cluster.
 */

import { momentumSize } from "../state/momentum.js";
import type { Momentum } from "../state/momentum.js";

/** The arrays of one layer, or of one shard of it. All have the same number of elements. */
export interface LayerArrays {
  readonly weights: Float32Array;
  readonly gradient: Float32Array;
  /** null: the layer keeps no momentum, the update is the direction. */
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

/** Sums of squares, in float64; 0 where a sum was not wanted. They add up over ranges and shards. */
export interface SumsOfSquares {
  readonly weights: number;
  /** Of the gradient as it was given, unscaled. NaN or Infinity exactly if an element is not finite. */
  readonly gradient: number;
  readonly update: number;
}

/**
 * Refuses arrays that do not belong together: views of memory that has grown or gone are empty, and a kernel would
 * read or write whatever lies there now.
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

/** Adds the sums of two ranges or shards. Add in a fixed order: float64 addition does not commute in triples. */
export function addSums(a: SumsOfSquares, b: SumsOfSquares): SumsOfSquares {
  return {
    weights: a.weights + b.weights,
    gradient: a.gradient + b.gradient,
    update: a.update + b.update,
  };
}

/**
 * Elements per partial sum, and per piece of work. A layer is always cut at multiples of this, so
 * that its sums have the same bits on any number of threads; it is a multiple of the quantisation
 * block, and 32,768 float32 of weights and of gradient fit a second-level cache with room to spare.
 */
export const CHUNK_SIZE = 32768;

export interface Kernel {
  readonly name: string;
  /** Threads that a step uses, the caller's own included. */
  readonly threads: number;

  /**
   * Sums of squares of each task, without writing anything. The update's sum is taken of u as
   * {@link apply} would compute it for the same equation; the gradient's is always there.
   */
  measure(tasks: readonly KernelTask[]): SumsOfSquares[];

  /**
   * Writes weights and momentum. The sums are of the weights *before* the step and of the update;
   * the gradient's is 0.
   */
  apply(tasks: readonly KernelTask[]): SumsOfSquares[];

  /**
   * Momentum 0, where the kernel reaches it without copying, as far as its memory goes.
   *
   * @param weights of the layer, if they are known: momentum is best beside them
   */
  allocateMomentum(kind: Momentum["kind"], size: number, weights?: Float32Array): Momentum;
  /** Gives momentum back that this kernel allocated; other momentum is left alone. */
  releaseMomentum(momentum: Momentum): void;
  /** Ends threads that nobody else uses. */
  dispose(): void;
}
