/**
 * All randomness of a run, from its seed. Each use has its own stream, so that a run that is
 * resumed in epoch 7 shuffles as an uninterrupted one does.
 */
import { uniformFloat64 } from "pure-rand/distribution/uniformFloat64";
import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";

/** Streams of one seed; jumps of the generator keep them 2^64 numbers apart. */
export const STREAMS = {
  weights: 0,
  /** Rows of a table that become its test set. */
  testRows: 1,
  /** Training samples that are held out while rates are searched. */
  heldOut: 2,
  /** The shuffle of an epoch, counted from 0. */
  shuffle: (epoch: number): number => 3 + epoch,
};

/** Numbers of one stream of a seed. */
export class Random {
  readonly #generator;

  constructor(seed: number, stream: number) {
    this.#generator = xoroshiro128plus(seed);
    for (let jumps = 0; jumps < stream; jumps++) this.#generator.jump();
  }

  /** A number in [-limit, limit). */
  uniform(limit: number): number {
    return (2 * uniformFloat64(this.#generator) - 1) * limit;
  }

  /** Shuffles in place: Fisher and Yates, as Durstenfeld wrote it. */
  shuffle(values: Int32Array): void {
    for (let last = values.length - 1; last > 0; last--) {
      const other = uniformInt(this.#generator, 0, last);
      const value = values[last]!;
      values[last] = values[other]!;
      values[other] = value;
    }
  }
}
