/** A multi-layer perceptron of 10 million parameters: 784-2048-2048-2048-10. */
import { createProblem } from "../problem.js";
import type { LayerShape, Problem } from "../problem.js";

const WIDTHS = [784, 2048, 2048, 2048, 10];

export function perceptron(): Problem {
  const layers = WIDTHS.slice(1).flatMap((units, index): LayerShape[] => [
    { name: `dense${index}/kernel`, shape: [WIDTHS[index]!, units] },
    { name: `dense${index}/bias`, shape: [units] },
  ]);
  return createProblem("perceptron", layers);
}
