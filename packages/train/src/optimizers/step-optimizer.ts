/** What training needs of an optimizer. */
import type { StepReport } from "layerwise";
import type { Checkpoint } from "layerwise/checkpoint";

export interface StepOptimizer {
  /** Bytes of state in this process. */
  readonly stateBytes: number;
  /** Whether a step adds up the processes' gradients itself; otherwise they must be added up before. */
  readonly addsUpGradients: boolean;
  /**
   * Makes one step with the gradients that the parameters have.
   *
   * @param gradScale multiplies every gradient
   * @throws NonFiniteGradientError for a gradient that is not finite; nothing was written then
   */
  step(gradScale: number): StepReport;
  /** The state needed to continue, all of it on every process; the weights are saved separately. */
  save(): Checkpoint;
  /** @throws TypeError or RangeError when the state is of other layers */
  restore(saved: Checkpoint): void;
  /** Frees the state. */
  dispose(): void;
}
