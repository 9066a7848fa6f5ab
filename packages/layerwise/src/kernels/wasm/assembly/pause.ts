/**
 * Turns that a thread waits between reading the counter of a job and taking a chunk: none. The stress test compiles
 * the kernels with another number here, to widen the window in which a thread may be descheduled.
 */
const TURNS: i32 = 0;

let turns: i32 = 0;

// @ts-ignore: decorator
@inline
export function pause(): void {
  if (TURNS == 0) return;
  // A global that is written in each turn: the loop is not left out as useless.
  for (turns = 0; turns < TURNS; turns++) atomic.fence();
}
