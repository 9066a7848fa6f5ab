/** Memory of one thread: a run of values for each of two purposes, and the keys of 16 elements. */
import { RUN } from "./layer";

export const SCRATCH_BYTES: i32 = 2 * 4 * RUN + 64;

/** Decoded momentum: up to a run of float32. */
export let decoded: usize = 0;
/** The updates of a run, for a second look at sums that float32 can't hold. */
export let updates: usize = 0;
export let keys: usize = 0;

export function useScratch(address: usize): void {
  decoded = address;
  updates = address + 4 * RUN;
  keys = address + 8 * RUN;
}
