/** Errors of a step, in addition to the TypeErrors and RangeErrors of wrong options. */

/** A gradient has a NaN or infinite element. Weights, state, counts and histories are unchanged. */
export class NonFiniteGradientError extends Error {
  override readonly name = "NonFiniteGradientError";
  /** The first layer with such an element: its name, or its position. */
  readonly layer: string;

  constructor(layer: string) {
    super(
      `layer ${JSON.stringify(layer)}: expected a finite gradient, got a NaN or infinite element; nothing was written (nonFinite: "skip" skips such steps)`,
    );
    this.layer = layer;
  }
}
