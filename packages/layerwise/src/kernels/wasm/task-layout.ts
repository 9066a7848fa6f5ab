/**
 * The 80 bytes through which a chunk of work reaches the kernels. assembly/task.ts has the same
 * offsets for the other side.
 */
import type { SumsOfSquares, UpdateEquation } from "../kernel.js";
import type { KernelTask } from "../kernel.js";

export const TASK_BYTES = 80;

const WANT_WEIGHTS = 1;
const WANT_UPDATE = 2;
const SKIP_ZEROS = 4;

/** Addresses of the arrays of one chunk; 0 for what a layer has not. */
export interface ChunkAddresses {
  weights: number;
  gradient: number;
  momentum: number;
  absmax: number;
}

/** Writes the parts of a task that all chunks of a layer share. */
export function writeEquation(view: DataView, task: KernelTask): void {
  const { equation, sums } = task;
  view.setInt32(20, flagsOf(equation, sums), true);
  view.setFloat32(24, equation.gradientFactor, true);
  view.setFloat32(28, equation.weightFactor, true);
  view.setFloat32(32, equation.decay, true);
  view.setFloat32(36, equation.accumulation, true);
  view.setFloat32(40, equation.lookahead, true);
  view.setFloat32(44, equation.stepSize, true);
}

function flagsOf(equation: UpdateEquation, sums: KernelTask["sums"]): number {
  return (
    (sums.weights ? WANT_WEIGHTS : 0) |
    (sums.update ? WANT_UPDATE : 0) |
    (equation.skipZeros ? SKIP_ZEROS : 0)
  );
}

export function writeChunk(view: DataView, addresses: ChunkAddresses, count: number): void {
  view.setUint32(0, addresses.weights, true);
  view.setUint32(4, addresses.gradient, true);
  view.setUint32(8, addresses.momentum, true);
  view.setUint32(12, addresses.absmax, true);
  view.setInt32(16, count, true);
}

export function readSums(view: DataView): SumsOfSquares {
  return {
    weights: view.getFloat64(48, true),
    gradient: view.getFloat64(56, true),
    update: view.getFloat64(64, true),
  };
}
