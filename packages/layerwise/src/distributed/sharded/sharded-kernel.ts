/**
 * A kernel of which each process runs its part. Measuring exchanges the sums of squares, so every process decides alike;
 * applying exchanges the weights. The equations are those of the kernel inside.
 */
import { addSums, CHUNK_SIZE, NO_SUMS } from "../../kernels/kernel.js";
import type { Kernel, KernelTask, SumsOfSquares } from "../../kernels/kernel.js";
import { referenceKernel } from "../../kernels/reference.js";
import type { Momentum } from "../../state/momentum.js";
import { momentumArrays, partOfMomentum } from "../../state/momentum.js";
import type { Collective } from "../collective.js";
import { rangesOf } from "../tree/sequence.js";
import { partition } from "./partition.js";
import type { Shards } from "./partition.js";

/** A layer by its weights, and where its shards are. */
interface PlacedLayer {
  readonly weights: Float32Array;
  readonly shards: Shards;
}

/** A part of a layer that is one task: the whole layer if one process owns it; a chunk where chunks' sums are exchanged. */
interface Piece {
  /** Which task it is of. */
  readonly task: number;
  readonly owner: number;
  readonly begin: number;
  readonly end: number;
}

/** Sums of squares that a piece has. */
const SUMS = 3;

export class ShardedKernel implements Kernel {
  readonly #kernel: Kernel;
  readonly #collective: Collective;
  /** Layers are known by their weights, which they keep for life. */
  readonly #layers = new Map<Float32Array, PlacedLayer>();
  /** Layers that were placed together, in their order. */
  readonly #sequences: PlacedLayer[][] = [];
  /** All of them. */
  readonly #inOrder: PlacedLayer[] = [];

  constructor(kernel: Kernel, collective: Collective) {
    this.#kernel = kernel;
    this.#collective = collective;
  }

  get name(): string {
    return this.#kernel.name;
  }

  get threads(): number {
    return this.#kernel.threads;
  }

  /** Deals layers out, the same way on every process. Before anything else is done with them. */
  place(weights: readonly Float32Array[]): void {
    const sizes = weights.map(({ length }) => length);
    const shards = partition(sizes, this.#owned());
    const layers = weights.map((own, index) => ({ weights: own, shards: shards[index]! }));
    for (const layer of layers) this.#layers.set(layer.weights, layer);
    this.#sequences.push(layers);
    this.#inOrder.push(...layers);
  }

  /** Sums gradients over the processes; each gets those of its own parts. */
  reduceGradients(gradients: ReadonlyMap<Float32Array, Float32Array>): void {
    this.#forEachSequence([...gradients.keys()], (layers, counts) => {
      const arrays = layers.map(({ weights }) => gradients.get(weights)!);
      this.#collective.reduceScatter(arrays, counts);
    });
  }

  measure(tasks: readonly KernelTask[]): SumsOfSquares[] {
    const pieces = this.#piecesOf(tasks, { haveSums: true });
    return this.#exchangeSums(tasks, pieces, this.#kernel.measure(this.#own(tasks, pieces)));
  }

  apply(tasks: readonly KernelTask[]): SumsOfSquares[] {
    // Under the default rule the measure pass has taken all that a report shows.
    const haveSums = tasks.some(({ sums }) => sums.weights || sums.update);
    const pieces = this.#piecesOf(tasks, { haveSums });
    const applied = this.#kernel.apply(this.#own(tasks, pieces));
    this.#forEachSequence(
      tasks.map(({ arrays }) => arrays.weights),
      (layers, counts) => {
        this.#collective.allGather(
          layers.map(({ weights }) => weights),
          counts,
        );
      },
    );
    return haveSums ? this.#exchangeSums(tasks, pieces, applied) : tasks.map(() => NO_SUMS);
  }

  allocateMomentum(kind: Momentum["kind"], _size: number, weights?: Float32Array): Momentum {
    const { begin, end } = this.#shardOf(weights);
    if (begin === end) return referenceKernel.allocateMomentum(kind, 0);
    return this.#kernel.allocateMomentum(kind, end - begin, weights?.subarray(begin, end));
  }

  partOf(whole: Momentum, weights: Float32Array): Momentum {
    const { begin, end } = this.#shardOf(weights);
    return partOfMomentum(whole, begin, end);
  }

  /**
   * The whole momentum of a layer, on every process.
   *
   * @param layer in the order in which they were placed; its weights may be gone
   * @param part this process's
   * @param whole to be filled
   */
  gatherMomentum(layer: number, part: Momentum, whole: Momentum): void {
    const { shards } = this.#inOrder[layer]!;
    const parts = momentumArrays(part);
    const ofRanks = shards.map(({ begin, end }) =>
      momentumArrays(partOfMomentum(whole, begin, end)),
    );
    momentumArrays(whole).forEach((array, index) => {
      ofRanks[this.#collective.rank]![index]!.set(parts[index]!);
      this.#collective.allGather(
        array,
        ofRanks.map((arrays) => arrays[index]!.length),
      );
    });
  }

  releaseMomentum(momentum: Momentum): void {
    this.#kernel.releaseMomentum(momentum);
  }

  dispose(): void {
    this.#kernel.dispose();
  }

  /** Elements that each process owns, by rank. */
  #owned(): number[] {
    return Array.from({ length: this.#collective.size }, (_, rank) => {
      let elements = 0;
      for (const { shards } of this.#layers.values()) elements += lengthOf(shards[rank]!);
      return elements;
    });
  }

  #shardOf(weights: Float32Array | undefined): { begin: number; end: number } {
    const layer = weights === undefined ? undefined : this.#layers.get(weights);
    if (layer === undefined) throw new Error("sharded kernel: expected a layer that was placed");
    return layer.shards[this.#collective.rank]!;
  }

  /** Visits the sequences that some layers are of, with just these layers and the elements that each process has. */
  #forEachSequence(
    weights: readonly Float32Array[],
    visit: (layers: readonly PlacedLayer[], counts: readonly number[]) => void,
  ): void {
    const asked = new Set(weights);
    for (const sequence of this.#sequences) {
      const layers = sequence.filter((layer) => asked.has(layer.weights));
      if (layers.length === 0) continue;
      const counts = Array.from({ length: this.#collective.size }, (_, rank) =>
        layers.reduce((sum, { shards }) => sum + lengthOf(shards[rank]!), 0),
      );
      visit(layers, counts);
    }
  }

  /** The pieces of all processes, layer by layer, in the order of their elements. Without sums each shard is one. */
  #piecesOf(tasks: readonly KernelTask[], { haveSums }: { haveSums: boolean }): Piece[] {
    return tasks.flatMap(({ arrays: { weights } }, task) => {
      const { shards } = this.#layers.get(weights)!;
      const pieces: Piece[] = [];
      shards.forEach(({ begin, end }, owner) => {
        const isOne = !haveSums || end - begin === weights.length;
        const step = isOne ? Math.max(end - begin, 1) : CHUNK_SIZE;
        for (let at = begin; at < end; at += step) {
          pieces.push({ task, owner, begin: at, end: Math.min(at + step, end) });
        }
      });
      return pieces;
    });
  }

  /** The work of this process. */
  #own(tasks: readonly KernelTask[], pieces: readonly Piece[]): KernelTask[] {
    const own = pieces.filter(({ owner }) => owner === this.#collective.rank);
    return own.map(({ task, begin, end }) => {
      const { arrays, ...rest } = tasks[task]!;
      const { weights, gradient, momentum } = arrays;
      const { begin: start } = this.#shardOf(weights);
      return {
        ...rest,
        arrays: {
          weights: weights.subarray(begin, end),
          gradient: gradient.subarray(begin, end),
          momentum: momentum === null ? null : partOfMomentum(momentum, begin - start, end - start),
        },
      };
    });
  }

  /** The sums of whole layers, on every process: those of pieces, added in their order as one process would. */
  #exchangeSums(
    tasks: readonly KernelTask[],
    pieces: readonly Piece[],
    own: readonly SumsOfSquares[],
  ): SumsOfSquares[] {
    const { rank, size } = this.#collective;
    const counts = new Array<number>(size).fill(0);
    for (const { owner } of pieces) counts[owner]! += SUMS;
    const starts = rangesOf(counts).map(({ begin }) => begin);
    const values = new Float64Array(SUMS * pieces.length);
    own.forEach(({ weights, gradient, update }, index) => {
      values.set([weights, gradient, update], starts[rank]! + SUMS * index);
    });
    if (pieces.length > 0) this.#collective.allGather(values, counts);
    const next = [...starts];
    const totals = tasks.map(() => NO_SUMS);
    for (const { task, owner } of pieces) {
      const [weights = 0, gradient = 0, update = 0] = values.subarray(next[owner]);
      next[owner]! += SUMS;
      totals[task] = addSums(totals[task]!, { weights, gradient, update });
    }
    return totals;
  }
}

function lengthOf({ begin, end }: { begin: number; end: number }): number {
  return end - begin;
}
