/** Errors of a step, beside the TypeErrors and RangeErrors of wrong options. */

/** A gradient had a NaN or an infinite element. No weight, state, count or history was changed. */
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
