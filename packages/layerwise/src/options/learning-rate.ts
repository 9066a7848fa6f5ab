/** The learning rate of a step: a number, or what a schedule gives. */
import { shown } from "../check.js";
import type { Schedule } from "./schedules.js";

/**
 * γ of a step, counted from 0.
 *
 * @throws RangeError when a schedule gives anything but a finite number ≥ 0
 */
export function rateAt(lr: number | Schedule, step: number): number {
  if (typeof lr === "number") return lr;
  const rate: unknown = lr(step);
  if (typeof rate === "number" && Number.isFinite(rate) && rate >= 0) return rate;
  throw new RangeError(
    `lr: expected a finite number ≥ 0 from the schedule at step ${String(step)}, got ${shown(rate)}`,
  );
}
