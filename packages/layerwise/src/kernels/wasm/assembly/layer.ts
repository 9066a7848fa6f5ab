/**
 * A layer of a job: 64 bytes that the loader writes and all threads read. ../job.ts has the same
 * offsets for the other side.
 */
@unmanaged
export class Layer {
  weights: usize; // 0
  gradient: usize; // 4
  /** float32 values, or codes when absmax is not 0; 0 without momentum */
  momentum: usize; // 8
  absmax: usize; // 12
  size: u32; // 16
  flags: i32; // 20
  gradientFactor: f32; // 24
  weightFactor: f32; // 28
  decay: f32; // 32
  accumulation: f32; // 36
  lookahead: f32; // 40
  stepSize: f32; // 44
  /** Index of the layer's first chunk among the chunks of the job. */
  firstChunk: i32; // 48
}

export const LAYER_BYTES: usize = 64;

export const WANT_WEIGHTS: i32 = 1;
export const WANT_UPDATE: i32 = 2;
export const SKIP_ZEROS: i32 = 4;
/** Weights and gradient are in the cache already, the momentum may not be. */
export const FETCH_MOMENTUM: i32 = 8;

/** The sums of one chunk. */
@unmanaged
export class Sums {
  weights: f64;
  gradient: f64;
  update: f64;
}

export const SUMS_BYTES: usize = 24;
