/** What a step reports. */

/** What a step did to one layer. Norms are Euclidean. */
export interface LayerReport {
  /** The parameter's name, or its position. */
  name: string;
  /** ‖w‖ before the step. 0 in a skipped step if the rule does not measure it. */
  weightNorm: number;
  /** ‖g‖ after gradScale, before clipping. */
  gradNorm: number;
  /**
   * ‖u‖, the update before the step's factors. Under the rule `scale-gradient` it includes r, and with
   * momentumOrder "classic" γ as well. 0 in a skipped step.
   */
  updateNorm: number;
  /** r; 0 in a skipped step. */
  trustRatio: number;
  /** c: percentile and global clipping combined; 0 in a skipped step. */
  clipScale: number;
}

/** What a step did. */
export interface StepReport {
  /** Steps made so far, including this one; skipped steps do not count. */
  step: number;
  /** The learning rate of the first group. */
  lr: number;
  /** Whether a gradient was not finite, so that nothing was written. */
  skipped: boolean;
  /** The norm of all gradients together, after gradScale, before clipping. */
  gradNorm: number;
  /** The layers that have a gradient, in the order of the groups. */
  layers: LayerReport[];
}
