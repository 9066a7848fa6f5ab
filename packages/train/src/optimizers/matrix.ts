/** Which parameters have trust ratios and weight decay. */
import type { Parameter } from "layerwise";

/** Biases are no matrices. */
export function isMatrix({ shape }: Pick<Parameter, "shape">): boolean {
  return shape.length > 1;
}
