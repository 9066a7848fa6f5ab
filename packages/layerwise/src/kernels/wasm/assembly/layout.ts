/** Where things lie in the kernels' memory: tables at fixed addresses, so that look-ups need no base. */

/** Elements per chunk of work, kernel.ts: CHUNK_SIZE. */
export const CHUNK: u32 = 32768;
/** Elements per run of float32 sums; whole quantisation blocks. */
export const RUN: i32 = 1024;
/** Elements per quantisation block. */
export const BLOCK: i32 = 256;

/** The 256 float32 values of the codebook. */
export const CODEBOOK: usize = 1024;
/** The 255 float32 midpoints between them. */
export const MIDPOINTS: usize = CODEBOOK + 1024;
/** One code for each value of a float's sign, exponent and top 12 mantissa bits: blockwise.ts. */
export const TABLE: usize = MIDPOINTS + 1024;
export const TABLE_SIZE: usize = 1 << 21;

/** What is free for others begins here. */
export const HEAP: usize = TABLE + TABLE_SIZE;

/** Memory of one thread: two runs of values, and the keys of 16 elements. */
export const SCRATCH_BYTES: i32 = 2 * 4 * RUN + 64;
/** Momentum of a block on its way through a step, or of a run for a second look at it. */
export let momenta: usize = 0;
/** The updates of a run, for a second look at sums that float32 can't hold. */
export let updates: usize = 0;
export let keys: usize = 0;

export function useScratch(address: usize): void {
  momenta = address;
  updates = address + 4 * RUN;
  keys = address + 8 * RUN;
}
