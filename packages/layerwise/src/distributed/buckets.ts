/**
 * Gradients, summed over all processes in buckets: lists of layers in one fixed order, the same on every process. A
 * bucket is summed as soon as the gradients of all its layers are there, and those of the buckets before it.
 */
import { shown } from "../check.js";
import type { Parameter } from "../optimizer/parameter.js";
import type { Layer } from "../step/layer.js";
import { hasGradient } from "../step/step.js";
import type { StepAgreement } from "./agreement.js";
import { BorrowedGradients } from "./borrowed-gradients.js";
import type { Collective } from "./collective.js";

/** Layers whose gradients are summed together. */
interface Bucket {
  readonly layers: readonly Layer<Parameter>[];
  /** Whose gradients are there in this round. */
  readonly ready: Set<Parameter>;
}

/** One round lasts from the first gradient of a step until the step. */
export class Buckets {
  readonly #collective: Collective;
  readonly #agreement: StepAgreement;
  readonly #leastBytes: number;
  readonly #buckets: Bucket[] = [];
  readonly #bucketOf = new Map<Parameter, number>();
  /** The first bucket that is not summed yet in this round. */
  #next = 0;
  readonly #borrowed: BorrowedGradients;

  /** @param leastBytes a bucket takes layers until it has this many */
  constructor(
    { collective, agreement }: { collective: Collective; agreement: StepAgreement },
    leastBytes: number,
  ) {
    this.#collective = collective;
    this.#borrowed = new BorrowedGradients(collective);
    this.#agreement = agreement;
    this.#leastBytes = leastBytes;
  }

  /** Adds layers, the last of them first: a backward pass comes to them in that order. */
  add(layers: readonly Layer<Parameter>[]): void {
    let taken: Layer<Parameter>[] = [];
    let bytes = 0;
    [...layers].reverse().forEach((layer, index) => {
      taken.push(layer);
      this.#bucketOf.set(layer.parameter, this.#buckets.length);
      bytes += 4 * layer.parameter.size;
      if (bytes < this.#leastBytes && index < layers.length - 1) return;
      this.#buckets.push({ layers: taken, ready: new Set() });
      taken = [];
      bytes = 0;
    });
  }

  /** Layers of all buckets. */
  get size(): number {
    return this.#bucketOf.size;
  }

  /** Of all buckets. */
  get parameters(): Parameter[] {
    return [...this.#bucketOf.keys()];
  }

  /** Whether a layer is in a bucket. */
  has(parameter: Parameter): boolean {
    return this.#bucketOf.has(parameter);
  }

  /**
   * A gradient is there. Sums buckets that are complete now.
   *
   * @throws Error if this round has summed it before
   */
  ready(parameter: Parameter): void {
    const index = this.#bucketOf.get(parameter)!;
    if (index < this.#next) {
      throw new Error(
        `gradientReady: layer ${shown(parameter.name ?? "parameter")}: expected step() before its next gradient, got a second one: the first is already summed over the processes`,
      );
    }
    this.#buckets[index]!.ready.add(parameter);
    try {
      while (this.#isComplete(this.#buckets[this.#next])) this.#sumNext();
    } catch (error) {
      // All processes have it, wherever they are in their backward passes.
      this.endRound();
      throw error;
    }
  }

  #isComplete(bucket: Bucket | undefined): boolean {
    return bucket !== undefined && bucket.ready.size === bucket.layers.length;
  }

  /** Sums all buckets that are left, whether or not their gradients were announced. */
  sumRest(): void {
    while (this.#next < this.#buckets.length) this.#sumNext();
  }

  /** Ends the round: what was borrowed is taken back. */
  endRound(): void {
    this.#next = 0;
    for (const { ready } of this.#buckets) ready.clear();
    this.#borrowed.takeBack();
  }

  #sumNext(): void {
    const { layers } = this.#buckets[this.#next]!;
    const active = this.#agreement.agree({
      ...gradientsOf(layers),
      fingerprint: this.#next,
    });
    const arrays = layers.flatMap(({ parameter }, index) =>
      active[index] === true ? [parameter.grad ?? this.#borrowed.lend(parameter)] : [],
    );
    if (arrays.length > 0) this.#collective.allReduce(arrays);
    this.#next++;
  }
}

/** Which layers have a gradient here, or what is wrong with one. */
function gradientsOf(layers: readonly Layer[]): { gradients: boolean[]; error: unknown } {
  try {
    return { gradients: layers.map(hasGradient), error: undefined };
  } catch (error) {
    return { gradients: [], error };
  }
}
