/** What training needs of an optimizer. */
import type { StepReport } from "layerwise";
import type { Checkpoint } from "layerwise/checkpoint";

export interface StepOptimizer {
  /** Bytes of state. */
  readonly stateBytes: number;
  /**
   * Makes one step with the gradients that the parameters have.
   *
   * @param gradScale multiplies every gradient
   * @throws NonFiniteGradientError for a gradient that is not finite; nothing was written then
   */
  step(gradScale: number): StepReport;
  /** The state needed to continue; the weights are saved separately. */
  save(): Checkpoint;
  /** @throws TypeError or RangeError when the state is of other layers */
  restore(saved: Checkpoint): void;
  /** Frees the state. */
  dispose(): void;
}
