/** Models, as lists of layers in data/. */
import { readFileSync } from "node:fs";
import { createProblem, sizeOf } from "../problem.js";
import type { LayerShape, Problem } from "../problem.js";

/** Parameters of the models, as their papers and their reference implementations count them. */
const MODEL_SIZES: Readonly<Record<string, number>> = {
  resnet50: 25_557_032,
  gpt2: 124_439_808,
};

/** The list of a model's layers. */
export function modelFile(name: string): URL {
  return new URL(`../../data/${name}.json`, import.meta.url);
}

/** The layers of "resnet50" or "gpt2". @throws Error if they don't add up to the model */
export function model(name: string): Problem {
  const layers = JSON.parse(readFileSync(modelFile(name), "utf8")) as LayerShape[];
  const size = layers.reduce((sum, layer) => sum + sizeOf(layer), 0);
  if (size !== MODEL_SIZES[name]) {
    throw new Error(`${name}: ${size} parameters; it has ${String(MODEL_SIZES[name])}`);
  }
  return createProblem(name, layers);
}
