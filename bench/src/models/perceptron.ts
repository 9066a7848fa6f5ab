/** A multi-layer perceptron: 784-2048-2048-2048-10 is 10 million parameters. */
import { createProblem } from "../problem.js";
import type { LayerShape, Problem } from "../problem.js";

/** @param hidden units of each of the three hidden layers */
export function perceptron(hidden = 2048): Problem {
  const widths = [784, hidden, hidden, hidden, 10];
  const layers = widths.slice(1).flatMap((units, index): LayerShape[] => [
    { name: `dense${index}/kernel`, shape: [widths[index]!, units] },
    { name: `dense${index}/bias`, shape: [units] },
  ]);
  return createProblem("perceptron", layers);
}
