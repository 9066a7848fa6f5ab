/** The course of the learning rate over a run. */
import { schedules } from "layerwise";

export const SCHEDULES = ["constant", "polynomial", "cosine", "multi-step"] as const;

export type ScheduleName = (typeof SCHEDULES)[number];

/** When the rate rises and falls. */
export interface RateOptions {
  readonly schedule: ScheduleName;
  readonly warmupSteps: number;
  readonly steps: number;
}

/** A linear rise to the highest rate, then the schedule down to the run's last step. */
export function learningRates(
  peak: number,
  { schedule, warmupSteps, steps }: RateOptions,
): (step: number) => number {
  const rest = decay(schedule, peak, Math.max(1, steps - warmupSteps));
  if (warmupSteps === 0) return rest;
  const rise = schedules.warmup({ peak, steps: warmupSteps });
  return schedules.sequence([{ schedule: rise, steps: warmupSteps }, { schedule: rest }]);
}

function decay(name: ScheduleName, start: number, steps: number): (step: number) => number {
  switch (name) {
    case "constant":
      return schedules.constant(start);
    case "polynomial":
      return schedules.polynomial({ start, steps });
    case "cosine":
      return schedules.cosine({ start, steps });
    case "multi-step": {
      // A tenth after half of the steps, a hundredth after three quarters.
      const milestones = [Math.ceil(steps / 2), Math.ceil((3 * steps) / 4)];
      return schedules.multiStep({ start, milestones: [...new Set(milestones)] });
    }
  }
}
