/** A layer of a job: 64 bytes that the loader writes and all threads read. */
@unmanaged
export class Layer {
  weights: usize;
  gradient: usize;
  /** float32 values, or codes when absmax is not 0; 0 without momentum */
  momentum: usize;
  absmax: usize;
  size: u32;
  flags: i32;
  gradientFactor: f32;
  weightFactor: f32;
  decay: f32;
  accumulation: f32;
  lookahead: f32;
  stepSize: f32;
  /** Index of the layer's first chunk among the chunks of the job. */
  firstChunk: i32;
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
