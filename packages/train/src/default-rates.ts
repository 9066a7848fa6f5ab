/** The rates that `--lr` goes without. docs/training.md shows the grids that they come from. */
import { presets, schedules } from "layerwise";
import { DEFAULT_TRUST_COEFFICIENT } from "./optimizers.js";
import type { OptimizerName, StepOptions } from "./optimizers.js";

/** Tuned at batch 8,192 for the MLP 784-300-100-10 on MNIST, 10 epochs. */
const TUNED_BATCH_SIZE = 8192;
const SGD_RATE = 0.2;
const SCALE_GRADIENT_RATE = 3;
const CLIP_UPDATE_RATE = 2;

/** The highest rate of an optimizer. */
export function defaultRate(
  optimizer: OptimizerName,
  options: StepOptions & { readonly batchSize: number },
): number {
  return schedules.sqrtBatchScaling({
    lr: tunedRate(optimizer, options),
    batchSize: options.batchSize,
    baseBatchSize: TUNED_BATCH_SIZE,
  });
}

function tunedRate(optimizer: OptimizerName, step: StepOptions): number {
  if (optimizer === "sgd") return SGD_RATE;
  if (step.maxUnorm !== null) return CLIP_UPDATE_RATE;
  if (step.preset === null) return scaleGradientRate(step.trustCoefficient);
  const { trustRatio } = presets[step.preset]({ lr: 1 });
  const isScaled = typeof trustRatio === "object" && trustRatio.rule === "scale-gradient";
  return isScaled ? scaleGradientRate(trustRatio.coefficient ?? null) : CLIP_UPDATE_RATE;
}

/** The rate goes with η as a product, so that a smaller η takes a larger rate. */
function scaleGradientRate(coefficient: number | null): number {
  return (
    (SCALE_GRADIENT_RATE * DEFAULT_TRUST_COEFFICIENT) / (coefficient ?? DEFAULT_TRUST_COEFFICIENT)
  );
}
