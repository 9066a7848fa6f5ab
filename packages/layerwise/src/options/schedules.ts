/**
 * Learning rates over steps. A schedule is any function of the step, counted from 0. Steps beyond a schedule's
 * end keep its last value.
 */
import { checkFields, checkInteger, checkNonNegative, checkPositive, refusal } from "../check.js";

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
  /** The rate before the first step. Default 0. */
  start?: number;
}

/**
 * A linear rise: start + (peak − start)·(k + 1)/steps. The first step already has a rate above `start`; step
 * `steps` − 1 has the peak.
 *
 * Source: Goyal et al. 2017 (arXiv 1706.02677), section 2.2.
 */
export function warmup(options: WarmupOptions): Schedule {
  checkFields("warmup", options, ["peak", "steps", "start"]);
  const { peak, steps, start = 0 } = options;
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

function checkDecay(name: string, options: DecayOptions, others: readonly string[] = []): void {
  checkFields(name, options, ["start", "end", "steps", ...others]);
  const { start, end = 0, steps } = options;
  checkNonNegative(`${name}: start`, start);
  checkNonNegative(`${name}: end`, end);
  checkInteger(`${name}: steps`, steps, 1);
}

/** The part of a decay that is left at a step: 1 at its start, 0 from its end on. */
function remaining(step: number, steps: number): number {
  return 1 - Math.min(1, step / steps);
}

/**
 * Polynomial decay: end + (start − end)·(1 − k/steps)^power, the schedule that LARS was published with.
 *
 * Source: You, Gitman, Ginsburg 2017 (arXiv 1708.03888), section 5: power 2.
 */
export function polynomial(options: DecayOptions & { power?: number }): Schedule {
  checkDecay("polynomial", options, ["power"]);
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
  /** Ascending steps. From each of them the rate is multiplied by `factor` again. */
  milestones: readonly number[];
  /** Default 0.1. */
  factor?: number;
}

/** Steps down by a factor at each milestone, as PyTorch's `MultiStepLR`. */
export function multiStep(options: MultiStepOptions): Schedule {
  checkFields("multiStep", options, ["start", "milestones", "factor"]);
  const { start, factor = 0.1 } = options;
  checkNonNegative("multiStep: start", start);
  checkNonNegative("multiStep: factor", factor);
  const milestones = checkedMilestones(options.milestones);
  return (step) => start * factor ** milestones.filter((milestone) => step >= milestone).length;
}

/** A copy, so that later changes to the list do not change the schedule. */
function checkedMilestones(given: unknown): number[] {
  let least = 0;
  return checkedList("multiStep: milestones", given, "steps").map((milestone, index) => {
    const checked = checkInteger(`multiStep: milestones[${String(index)}]`, milestone, least);
    least = checked + 1;
    return checked;
  });
}

/** A copy without holes: what a sparse array leaves out is undefined. */
function checkedList(name: string, value: unknown, elements: string): unknown[] {
  if (!Array.isArray(value)) throw new TypeError(refusal(name, value, `an array of ${elements}`));
  return Array.from(value as unknown[]);
}

/** One part of a {@link sequence}. */
export interface SequencePart {
  schedule: Schedule;
  /** How many steps it lasts, ≥ 1. Only the last part may omit it. */
  steps?: number;
}

/**
 * Schedules one after another. Each counts its own steps from 0. The last part goes on forever.
 *
 * @throws TypeError or RangeError if there are no parts, a part has no schedule, or a part before the last has no
 *   `steps`
 * @example
 * const lr = schedules.sequence([
 *   { schedule: schedules.warmup({ peak: 1, steps: 100 }), steps: 100 },
 *   { schedule: schedules.cosine({ start: 1, steps: 900 }) },
 * ]);
 */
export function sequence(parts: readonly SequencePart[]): Schedule {
  const list = checkedList("sequence", parts, "parts");
  if (list.length === 0) throw new RangeError("sequence: expected one part or more, got none");
  const checked = list.map((part, index) =>
    checkedPart(`sequence: parts[${String(index)}]`, part, index === list.length - 1),
  );
  const last = checked.at(-1)!;
  return (step) => {
    let local = step;
    for (const { schedule, steps } of checked) {
      if (local < steps) return schedule(local);
      local -= steps;
    }
    return last.schedule(local + last.steps);
  };
}

function checkedPart(name: string, value: unknown, isLast: boolean): Required<SequencePart> {
  const { schedule, steps } = checkFields(name, value, ["schedule", "steps"]);
  if (typeof schedule !== "function") {
    throw new TypeError(refusal(`${name}.schedule`, schedule, "a schedule (step) => rate"));
  }
  return {
    schedule: schedule as Schedule,
    steps: isLast && steps === undefined ? Infinity : checkInteger(`${name}.steps`, steps, 1),
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

function batchRatio(name: string, options: BatchScalingOptions): number {
  checkFields(name, options, ["lr", "batchSize", "baseBatchSize"]);
  const { lr, batchSize, baseBatchSize = 256 } = options;
  checkNonNegative(`${name}: lr`, lr);
  checkInteger(`${name}: batchSize`, batchSize, 1);
  checkInteger(`${name}: baseBatchSize`, baseBatchSize, 1);
  return batchSize / baseBatchSize;
}

/** lr · batchSize / baseBatchSize. Source: Goyal et al. 2017 (arXiv 1706.02677), section 2.1. */
export function linearBatchScaling(options: BatchScalingOptions): number {
  const ratio = batchRatio("linearBatchScaling", options);
  return options.lr * ratio;
}

/** lr · √(batchSize / baseBatchSize). Source: Krizhevsky 2014 (arXiv 1404.5997), section 5. */
export function sqrtBatchScaling(options: BatchScalingOptions): number {
  const ratio = batchRatio("sqrtBatchScaling", options);
  return options.lr * Math.sqrt(ratio);
}
