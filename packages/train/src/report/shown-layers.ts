/** Which layers the charts show: all of a small network, some of a deep one. */
import type { ModelConfig } from "../models/model.js";
import { parametersOf } from "../models/parameters.js";

/** Readers can't tell more lines apart. */
const MAX_LAYERS = 8;

/** Names of the kernels that charts show: of more than 8, the first, the last and evenly spread ones. */
export function shownLayers(model: ModelConfig): string[] {
  const kernels = kernelsOf(model);
  if (kernels.length <= MAX_LAYERS) return kernels;
  const stride = (kernels.length - 1) / (MAX_LAYERS - 1);
  return Array.from({ length: MAX_LAYERS }, (_, index) => kernels[Math.round(index * stride)]!);
}

export function kernelsOf(model: ModelConfig): string[] {
  return parametersOf(model)
    .filter(({ shape }) => shape.length > 1)
    .map(({ name }) => name);
}
