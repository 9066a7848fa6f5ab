/** Sums in float32 with few roundings in a row, of terms that `jit` fuses with them. */
import { numpy as np } from "@jax-js/jax";

/** As many elements, at most, are added up one after another: so many roundings in a row. */
const AT_ONCE = 2048;
/** The length of the runs by which longer arrays are added up. */
const RUN = 128;
/** Shorter runs than this, and an array has a rest after runs of full length. */
const LEAST_RUN = 32;

/** What is added up of the elements of arrays. It is called for parts, so that `jit` fuses it with their sums. */
export type Term = (parts: readonly np.Array[]) => np.Array;

export const itself: Term = ([part]) => part!;

/** Sums over the last axis of what the term makes of arrays of one shape. Consumes them. */
export function totalOf(arrays: readonly np.Array[], term: Term): np.Array {
  if (lengthOf(arrays[0]!) <= AT_ONCE) return term(arrays).sum(-1);
  return totalOf([runSums(arrays, term)], itself);
}

/** Sums over the runs of the last axis, and over its rest. Consumes the arrays. */
export function runSums(arrays: readonly np.Array[], term: Term): np.Array {
  const size = lengthOf(arrays[0]!);
  const run = runOf(size);
  const whole = size - (size % run);
  const rows = arrays[0]!.shape.slice(0, -1);
  const parts = (start: number, end: number): np.Array[] =>
    arrays.map((values) => values.ref.slice(...rows.map((): [] => []), [start, end]));
  const runs = (whole === size ? arrays.map(({ ref }) => ref) : parts(0, whole)).map((part) =>
    part.reshape([...rows, whole / run, run]),
  );
  const sums = term(runs).sum(-1);
  const rest = whole === size ? null : term(parts(whole, size)).sum(-1, { keepdims: true });
  for (const each of arrays) each.dispose();
  return rest === null ? sums : np.concatenate([sums, rest], -1);
}

function lengthOf({ shape }: np.Array): number {
  return shape[shape.length - 1]!;
}

/** The longest run that divides a size and is long enough; else a full one. */
function runOf(size: number): number {
  for (let run = RUN; run >= LEAST_RUN; run -= 4) {
    if (size % run === 0) return run;
  }
  return RUN;
}
