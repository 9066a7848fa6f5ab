/** What a step says of itself. */

/** What a step did to one layer. Norms are Euclidean. */
export interface LayerReport {
  /** The parameter's name, or its position. */
  name: string;
  /** ‖w‖ before the step. In a skipped step 0, unless the rule measures it. */
  weightNorm: number;
  /** ‖g‖ after gradScale, before clipping. */
  gradNorm: number;
  /**
   * ‖u‖, the update before the step's factors. Where r goes into the direction, u has it, and under
   * momentumOrder "classic" γ too. 0 in a skipped step.
   */
  updateNorm: number;
  /** r; 0 in a skipped step. */
  trustRatio: number;
  /** c: the percentile and the global clipping together; 0 in a skipped step. */
  clipScale: number;
}

/** What a step did. */
export interface StepReport {
  /** Steps made so far, this one included; a skipped step does not count. */
  step: number;
  /** The learning rate of the first group. */
  lr: number;
  /** True when a gradient was not finite and nothing was written. */
  skipped: boolean;
  /** The norm of all gradients together, after gradScale, before clipping. */
  gradNorm: number;
  /** The layers that have a gradient, in the order of the groups. */
  layers: LayerReport[];
}
