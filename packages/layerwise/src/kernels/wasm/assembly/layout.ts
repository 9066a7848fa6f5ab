/** Where things lie in the memory that the kernels work on: where its owner says, since it may be somebody else's. */

/** Elements per chunk of work. */
export const CHUNK: u32 = 32768;
/** Elements per run of float32 sums; whole quantization blocks. */
export const RUN: i32 = 1024;
/** Elements per quantization block. */
export const BLOCK: i32 = 256;

/** The 256 float32 values of the codebook. */
export let codebook: usize = 0;
/** The 255 float32 midpoints between them, and infinity. */
export let midpoints: usize = 0;
/** A midpoint and a code for each key: blockwise.ts. */
export let table: usize = 0;

/** Keys of float32 numbers: sign, exponent and top 6 mantissa bits. */
export const KEYS: i32 = 1 << 15;

/** Bytes of codebook, midpoints and table, which all threads share. */
export const TABLE_BYTES: i32 = 1024 + 1024 + 8 * KEYS;

export function useTables(address: usize): void {
  codebook = address;
  midpoints = address + 1024;
  table = address + 2048;
}

/** Most constants of one loop. */
const CONSTANTS: i32 = 16;

/** Memory of one thread: two runs of values, and the constants of a loop. */
export const SCRATCH_BYTES: i32 = 2 * 4 * RUN + 16 * CONSTANTS;
/** Momentum of a block on its way through a step, or of a run for a second look at it. */
export let momenta: usize = 0;
/** The updates of a run, for a second look at sums that float32 can't hold. */
export let updates: usize = 0;
let constants: usize = 0;

export function useScratch(address: usize): void {
  momenta = address;
  updates = address + 4 * RUN;
  constants = address + 8 * RUN;
}

/**
 * Keeps a value in all four lanes for later loops; `slot` is its number among their constants. It goes through memory:
 * V8 recomputes a splat, and even a division that feeds it, in every iteration of the loop that uses it,
 * but loads a stored value before the loop. Measured in the cache: 15 % of the apply pass.
 */
// @ts-ignore: decorator
@inline
export function keep(value: f32, slot: i32): void {
  v128.store(constants + (<usize>slot << 4), f32x4.splat(value));
}

/** What {@link keep} has kept. */
// @ts-ignore: decorator
@inline
export function kept(slot: i32): v128 {
  return v128.load(constants + (<usize>slot << 4));
}

/** A value in all four lanes, for a loop. */
// @ts-ignore: decorator
@inline
export function broadcast(value: f32, slot: i32): v128 {
  keep(value, slot);
  return kept(slot);
}
