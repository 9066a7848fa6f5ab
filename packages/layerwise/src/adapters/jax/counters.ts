/**
 * Counts of steps. Without `jit`, jax-js computes an array only when something that depends on it is read. So a count that
 * nothing depends on would collect additions, and memory, with each step. Here the updates always depend on the next
 * count.
 */
import { numpy as np } from "@jax-js/jax";
import { int32 } from "./scalars.js";

/** A step that is counted. */
export interface CountedStep {
  /** int32: the count after the step. */
  readonly next: np.Array;
  /** A float32 1 that depends on the next count, to multiply something in the updates by. */
  readonly one: np.Array;
}

/** The count after a step that is always made. Consumes the count. */
export function counted(count: np.Array): CountedStep {
  const next = count.ref.add(int32(1));
  return { next, one: next.ref.sub(count).astype(np.float32) };
}

/** A count after a step that may be skipped. */
export interface CountedOutcome {
  /** int32: the count after the step. */
  readonly next: np.Array;
  /** int32: 1 if the step is made, 0 if it is skipped. It depends on the next count. */
  readonly made: np.Array;
}

/**
 * Counts a step that is skipped.
 *
 * @param skipped int32: consumed
 * @param made int32, 1 or 0: consumed
 */
export function countSkipped(skipped: np.Array, made: np.Array): CountedOutcome {
  const next = skipped.ref.add(int32(1).sub(made));
  return { next, made: int32(1).sub(next.ref.sub(skipped)) };
}

/** Counts a step that is made. Borrows the count, consumes the rest. */
export function countMade(count: np.Array, made: np.Array): CountedOutcome {
  const next = count.ref.add(made);
  return { next, made: next.ref.sub(count.ref) };
}

/** Whether a step is made, made anew by each call: a scalar of true or false. */
export type IsMade = () => np.Array;

/** Borrows what it is made from. */
export function isMadeFrom(made: np.Array): IsMade {
  return () => made.ref.notEqual(int32(0));
}
