/** The plan of a trial: the same schedule, shortened. */
import type { TrainingPlan } from "../plan.js";

/**
 * Batches are thinned to this many samples. A run with large batches has few steps, and the highest stable rate
 * shows only over as many steps. A thinner batch has nearly the same direction for a part of the work. Below this
 * size noise dominates, and a trial makes fewer steps instead.
 */
const THINNEST_BATCH = 256;

/**
 * The run in short, with its warm-up and decay in the same parts.
 *
 * @param samples that trials train on
 * @param part of the run's work
 */
export function trialPlan(
  plan: TrainingPlan,
  { samples, part }: { samples: number; part: number },
): TrainingPlan {
  const allSteps = plan.epochs * plan.stepsPerEpoch;
  const work = allSteps * plan.batchSize * part;
  const thinnest = Math.min(plan.batchSize, THINNEST_BATCH, samples);
  const thinned = Math.max(thinnest, Math.floor(work / allSteps));
  const batchSize = Math.min(plan.batchSize, samples, thinned);
  const wanted = Math.min(allSteps, Math.max(1, Math.floor(work / batchSize)));
  const epochs = Math.ceil(wanted / Math.floor(samples / batchSize));
  const stepsPerEpoch = Math.max(1, Math.floor(wanted / epochs));
  const warmupSteps = Math.round((plan.warmupSteps / allSteps) * epochs * stepsPerEpoch);
  return { ...plan, batchSize, epochs, stepsPerEpoch, warmupSteps };
}
