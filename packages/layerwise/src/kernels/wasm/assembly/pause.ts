/**
 * Turns that a thread waits between reading the counter of a job and taking a chunk: none. The stress test compiles
 * the kernels with another number here, to widen the window in which a thread may be descheduled.
 */
const TURNS: i32 = 0;

// @ts-ignore: decorator
@inline
export function pause(): void {
  // Atomic loads are not left out as useless.
  for (let turn = 0; turn < TURNS; turn++) atomic.load<i32>(0);
}
