/** What training needs of an optimizer, whoever made it. */
import type { StepReport } from "layerwise";
import type { Checkpoint } from "layerwise/checkpoint";

export interface StepOptimizer {
  /** Bytes that it keeps beside the weights. */
  readonly stateBytes: number;
  /**
   * Makes one step with the gradients that the parameters have.
   *
   * @param gradScale multiplies every gradient
   * @throws NonFiniteGradientError for a gradient that is not finite; nothing was written then
   */
  step(gradScale: number): StepReport;
  /** All that is needed to go on, beside the weights. */
  save(): Checkpoint;
  /** @throws TypeError or RangeError when the state is of other layers */
  restore(saved: Checkpoint): void;
  /** Gives the state's memory back. */
  dispose(): void;
}
