/**
 * The reference kernel: the equations of {@link UpdateEquation} in float64, one element at a time.
 *
 * It is the oracle of the fast kernels, so it has more precision than they do and shares no code
 * with them. Results are rounded once, when they are stored.
 */
import { dequantizeInto, quantizeInto } from "../state/blockwise.js";
import { BLOCK_SIZE } from "../state/codebook.js";
import { emptyMomentum } from "../state/momentum.js";
import type { Momentum } from "../state/momentum.js";
import { addSums, checkArrays, CHUNK_SIZE, NO_SUMS } from "./kernel.js";
import type { Kernel, KernelTask, LayerArrays, SumsOfSquares, UpdateEquation } from "./kernel.js";

interface ElementStep {
  momentum: number;
  update: number;
}

/** One element's new momentum and update, as the equations read. */
function stepElement(
  weight: number,
  gradient: number,
  momentum: number,
  equation: UpdateEquation,
): ElementStep {
  if (equation.skipZeros && gradient === 0) return { momentum, update: 0 };
  const direction = equation.gradientFactor * gradient + equation.weightFactor * weight;
  const next = equation.decay * momentum + equation.accumulation * direction;
  const update = equation.lookahead > 0 ? direction + equation.lookahead * next : next;
  return { momentum: next, update };
}

/** Of one block. They are here from the start, so that no pass can fail for want of memory. */
const storedMomentum = new Float32Array(BLOCK_SIZE);
const newMomentum = new Float32Array(BLOCK_SIZE);

/** The stored momentum of elements [start, end), as float32 values; they are there until the next block is read. */
function readMomentum(momentum: Momentum | null, start: number, end: number): Float32Array {
  const values = storedMomentum.subarray(0, end - start);
  if (momentum === null) values.fill(0);
  else if (momentum.kind === "float32") values.set(momentum.values.subarray(start, end));
  else dequantizeInto(blockwiseRange(momentum, start, end), values);
  return values;
}

function writeMomentum(momentum: Momentum | null, start: number, values: Float32Array): void {
  if (momentum?.kind === "float32") momentum.values.set(values, start);
  if (momentum?.kind === "blockwise") {
    quantizeInto(values, blockwiseRange(momentum, start, start + values.length));
  }
}

function blockwiseRange(
  momentum: Momentum & { kind: "blockwise" },
  start: number,
  end: number,
): { codes: Uint8Array; absmax: Float32Array } {
  return {
    codes: momentum.codes.subarray(start, end),
    absmax: momentum.absmax.subarray(start / BLOCK_SIZE, Math.ceil(end / BLOCK_SIZE)),
  };
}

/** The visit of one block: calls back with each element's step and returns the block's sums. */
function visitBlock(
  task: KernelTask,
  start: number,
  visit: (index: number, step: ElementStep) => void,
): SumsOfSquares {
  const { weights, gradient, momentum } = task.arrays;
  const end = Math.min(start + BLOCK_SIZE, weights.length);
  const stored = readMomentum(momentum, start, end);
  const sums = { weights: 0, gradient: 0, update: 0 };
  for (let index = start; index < end; index++) {
    const w = weights[index]!;
    const g = gradient[index]!;
    const step = stepElement(w, g, stored[index - start]!, task.equation);
    if (task.sums.weights) sums.weights += w * w;
    if (task.sums.update) sums.update += step.update * step.update;
    sums.gradient += g * g;
    visit(index, step);
  }
  return sums;
}

function sumBlocks(
  { weights }: LayerArrays,
  blockSums: (start: number) => SumsOfSquares,
): SumsOfSquares {
  let total = NO_SUMS;
  for (let chunk = 0; chunk < weights.length; chunk += CHUNK_SIZE) {
    const end = Math.min(chunk + CHUNK_SIZE, weights.length);
    let ofChunk = NO_SUMS;
    for (let start = chunk; start < end; start += BLOCK_SIZE) {
      ofChunk = addSums(ofChunk, blockSums(start));
    }
    total = addSums(total, ofChunk);
  }
  return total;
}

function measureLayer(task: KernelTask): SumsOfSquares {
  return sumBlocks(task.arrays, (start) => visitBlock(task, start, () => undefined));
}

function applyLayer(task: KernelTask): SumsOfSquares {
  const { weights, gradient, momentum } = task.arrays;
  return sumBlocks(task.arrays, (start) => {
    const end = Math.min(start + BLOCK_SIZE, weights.length);
    const untouched =
      task.equation.skipZeros && gradient.subarray(start, end).every((value) => value === 0);
    const sums = visitBlock(task, start, (index, step) => {
      newMomentum[index - start] = step.momentum;
      weights[index] = weights[index]! - task.equation.stepSize * step.update;
    });
    // A block that skipZeros leaves alone is not quantized again: its codes would drift.
    if (!untouched) writeMomentum(momentum, start, newMomentum.subarray(0, end - start));
    return { ...sums, gradient: 0 };
  });
}

export const referenceKernel: Kernel = {
  name: "reference",
  threads: 1,
  measure: (tasks) => {
    checkArrays(tasks);
    return tasks.map(measureLayer);
  },
  apply: (tasks) => {
    checkArrays(tasks);
    return tasks.map(applyLayer);
  },
  allocateMomentum: emptyMomentum,
  releaseMomentum: () => undefined,
  dispose: () => undefined,
};
