/**
 * Learning rates over steps. A schedule is a function of the step, counted from 0; any such function
 * will do. Steps beyond a schedule's end keep its last value.
 */
import { checkInteger, checkNonNegative, checkPositive } from "../check.js";

/** The learning rate of a step, counted from 0. */
export type Schedule = (step: number) => number;

/** The same rate at every step. */
export function constant(value: number): Schedule {
  checkNonNegative("constant: value", value);
  return () => value;
}

/** Options of {@link warmup}. */
export interface WarmupOptions {
  /** The rate at the end. */
  peak: number;
  /** Steps until then, ≥ 1. */
  steps: number;
  /** The rate to start above. Default 0. */
  start?: number;
}

/**
 * A linear rise: start + (peak − start)·(k + 1)/steps. The first step already moves, the last of
 * `steps` has the peak.
 *
 * Source: Goyal et al. 2017 (arXiv 1706.02677), section 2.2.
 */
export function warmup({ peak, steps, start = 0 }: WarmupOptions): Schedule {
  checkNonNegative("warmup: peak", peak);
  checkNonNegative("warmup: start", start);
  checkInteger("warmup: steps", steps, 1);
  return (step) => start + (peak - start) * Math.min(1, (step + 1) / steps);
}

/** Options of {@link polynomial} and {@link cosine}. */
export interface DecayOptions {
  /** The rate at step 0. */
  start: number;
  /** The rate from step `steps` on. Default 0. */
  end?: number;
  /** Steps from start to end, ≥ 1. */
  steps: number;
}

function checkDecay(name: string, { start, end = 0, steps }: DecayOptions): void {
  checkNonNegative(`${name}: start`, start);
  checkNonNegative(`${name}: end`, end);
  checkInteger(`${name}: steps`, steps, 1);
}

/** The part of a decay that is left at a step: 1 at its start, 0 from its end on. */
function remaining(step: number, steps: number): number {
  return 1 - Math.min(1, step / steps);
}

/**
 * Polynomial decay: end + (start − end)·(1 − k/steps)^power, the rate that LARS was published with.
 *
 * Source: You, Gitman, Ginsburg 2017 (arXiv 1708.03888), section 5: power 2.
 */
export function polynomial(options: DecayOptions & { power?: number }): Schedule {
  checkDecay("polynomial", options);
  const { start, end = 0, steps, power = 2 } = options;
  checkPositive("polynomial: power", power);
  return (step) => end + (start - end) * remaining(step, steps) ** power;
}

/**
 * Cosine decay: half a wave from start to end.
 *
 * Source: Loshchilov, Hutter 2016 (arXiv 1608.03983), without restarts.
 */
export function cosine(options: DecayOptions): Schedule {
  checkDecay("cosine", options);
  const { start, end = 0, steps } = options;
  return (step) => end + ((start - end) * (1 - Math.cos(Math.PI * remaining(step, steps)))) / 2;
}

/** Options of {@link multiStep}. */
export interface MultiStepOptions {
  /** The rate before the first milestone. */
  start: number;
  /** Ascending steps; from each on the rate is multiplied once more. */
  milestones: readonly number[];
  /** Default 0.1. */
  factor?: number;
}

/** Steps down by a factor at each milestone, as PyTorch's `MultiStepLR`. */
export function multiStep({ start, milestones, factor = 0.1 }: MultiStepOptions): Schedule {
  checkNonNegative("multiStep: start", start);
  checkNonNegative("multiStep: factor", factor);
  milestones.forEach((milestone, index) => {
    checkInteger(
      `multiStep: milestones[${String(index)}]`,
      milestone,
      (milestones[index - 1] ?? -1) + 1,
    );
  });
  return (step) => start * factor ** milestones.filter((milestone) => step >= milestone).length;
}

/** One part of a {@link sequence}. */
export interface SequencePart {
  schedule: Schedule;
  /** How many steps it holds, ≥ 1; only the last part may leave it out. */
  steps?: number;
}

/**
 * Schedules one after the other. Each counts its own steps from 0.
 *
 * @throws RangeError without parts, or for a part other than the last that has no `steps`
 */
export function sequence(parts: readonly SequencePart[]): Schedule {
  const last = parts.at(-1);
  if (last === undefined) throw new RangeError("sequence: expected one part or more, got none");
  parts.slice(0, -1).forEach(({ steps }, index) => {
    checkInteger(`sequence: parts[${String(index)}].steps`, steps, 1);
  });
  return (step) => {
    let local = step;
    for (const { schedule, steps = Infinity } of parts) {
      if (local < steps) return schedule(local);
      local -= steps;
    }
    return last.schedule(local + (last.steps ?? 0));
  };
}

/** Options of {@link linearBatchScaling} and {@link sqrtBatchScaling}. */
export interface BatchScalingOptions {
  /** The rate that is right at `baseBatchSize`. */
  lr: number;
  batchSize: number;
  /** Default 256. */
  baseBatchSize?: number;
}

function batchRatio(
  name: string,
  { lr, batchSize, baseBatchSize = 256 }: BatchScalingOptions,
): number {
  checkNonNegative(`${name}: lr`, lr);
  checkInteger(`${name}: batchSize`, batchSize, 1);
  checkInteger(`${name}: baseBatchSize`, baseBatchSize, 1);
  return batchSize / baseBatchSize;
}

/** lr · batchSize / baseBatchSize. Source: Goyal et al. 2017 (arXiv 1706.02677), section 2.1. */
export function linearBatchScaling(options: BatchScalingOptions): number {
  return options.lr * batchRatio("linearBatchScaling", options);
}

/** lr · √(batchSize / baseBatchSize). Source: Krizhevsky 2014 (arXiv 1404.5997), section 5. */
export function sqrtBatchScaling(options: BatchScalingOptions): number {
  return options.lr * Math.sqrt(batchRatio("sqrtBatchScaling", options));
}
