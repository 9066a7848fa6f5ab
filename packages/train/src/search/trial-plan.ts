/** Short runs of the same schedule: what a trial trains. */
import type { TrainingPlan } from "../plan.js";

/**
 * Batches are thinned to this many samples. Large batches have few steps, and how far a rate can go shows only in
 * as many: a batch of fewer samples says nearly the same about its direction, for a part of the work. Below it, noise
 * takes over, and a trial makes fewer steps.
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
