/**
 * Counts of steps. Without `jit`, jax-js computes an array when something that depends on it is read, so that a count that
 * nothing depends on would grow a longer list of additions, and hold more memory, with each step. Here the next
 * count is always part of what the updates are made from.
 */
import { numpy as np } from "@jax-js/jax";
import { int32 } from "./scalars.js";

/** A step that is counted. */
export interface CountedStep {
  /** int32: the count after the step. */
  readonly next: np.Array;
  /** A float32 1 that depends on the next count: something in the updates is to be multiplied by it. */
  readonly one: np.Array;
}

/** The count after a step that is always made. Consumes the count. */
export function counted(count: np.Array): CountedStep {
  const next = count.ref.add(int32(1));
  return { next, one: next.ref.sub(count).astype(np.float32) };
}

/** Whether a step is made, made anew by each call: a scalar of true or false. */
export type IsMade = () => np.Array;

/** The count of skipped steps after a step. */
export interface SkippedStep {
  readonly skipped: np.Array;
  /** It borrows the counts: use it up before they are given away. */
  readonly isMade: IsMade;
}

/**
 * Counts a step that is skipped where a gradient is not finite.
 *
 * @param skipped int32: borrowed
 * @param isFinite int32, 1 or 0: consumed
 */
export function countSkipped(skipped: np.Array, isFinite: np.Array): SkippedStep {
  const next = skipped.ref.add(int32(1).sub(isFinite));
  return { skipped: next, isMade: () => next.ref.equal(skipped.ref) };
}

/** The count of steps made, which depends on that of skipped steps. */
export function countMade(
  count: np.Array,
  { isMade }: SkippedStep,
): { readonly count: np.Array; readonly isMade: IsMade } {
  const next = count.ref.add(isMade().astype(np.int32));
  return { count: next, isMade: () => next.ref.notEqual(count.ref) };
}
