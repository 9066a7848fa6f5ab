/**
 * One chunk of work: 80 bytes that the loader writes and the kernels read.
 * ../task-layout.ts has the same offsets for the other side.
 */
@unmanaged
export class Task {
  weights: usize; // 0
  gradient: usize; // 4
  /** float32 values, or codes when absmax is not 0; 0 without momentum */
  momentum: usize; // 8
  absmax: usize; // 12
  count: i32; // 16
  flags: i32; // 20
  gradientFactor: f32; // 24
  weightFactor: f32; // 28
  decay: f32; // 32
  accumulation: f32; // 36
  lookahead: f32; // 40
  stepSize: f32; // 44
  /** Results: sums of squares. */
  sumWeights: f64; // 48
  sumGradient: f64; // 56
  sumUpdate: f64; // 64
}

export const WANT_WEIGHTS: i32 = 1;
export const WANT_UPDATE: i32 = 2;
export const SKIP_ZEROS: i32 = 4;
