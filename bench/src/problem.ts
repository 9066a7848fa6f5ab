/** What is stepped on: a list of layers, with seeded weights and gradients. */
import { fillNormal } from "./random.js";

export interface LayerShape {
  readonly name: string;
  readonly shape: readonly number[];
}

export interface Problem {
  readonly name: string;
  readonly layers: readonly LayerShape[];
  /** Parameters of all layers together. */
  readonly size: number;
  /** Where every rival begins. */
  readonly weights: readonly Float32Array[];
  /** The gradient of every step. */
  readonly gradients: readonly Float32Array[];
}

/** One layer of a size. */
export function oneLayer(size: number): Problem {
  const exponent = Math.log2(size);
  const name = Number.isInteger(exponent) ? `2^${exponent}` : size.toLocaleString("en");
  return createProblem(name, [{ name: "layer", shape: [size] }]);
}

export function createProblem(name: string, layers: readonly LayerShape[]): Problem {
  const filled = (seed: number, deviation: (index: number) => number): Float32Array[] =>
    layers.map((layer, index) => {
      const values = new Float32Array(sizeOf(layer));
      fillNormal(values, deviation(index), seed + index);
      return values;
    });
  return {
    name,
    layers,
    size: layers.reduce((sum, layer) => sum + sizeOf(layer), 0),
    // Scales that differ from layer to layer: a ratio taken over all of them together is found out.
    weights: filled(1, (index) => 0.5 * 1.5 ** (index % 5)),
    gradients: filled(1001, (index) => 1.5 ** -(index % 7)),
  };
}

export function sizeOf({ shape }: LayerShape): number {
  return shape.reduce((product, length) => product * length, 1);
}
