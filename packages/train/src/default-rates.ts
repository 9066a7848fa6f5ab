/** The rates that `--lr` goes without. docs/training.md shows the grids that they come from. */
import { presets, schedules } from "layerwise";
import { DEFAULT_TRUST_COEFFICIENT } from "./optimizers.js";
import type { OptimizerName, StepOptions } from "./optimizers.js";

/** Tuned for the MLP 784-300-100-10 on MNIST: batch 8,192 of 60,000 samples, 10 epochs. */
const TUNED_BATCH_SIZE = 8192;
const TUNED_SAMPLES = 60_000;
const SGD_RATE = 0.4;
const SCALE_GRADIENT_RATE = 3;
const CLIP_UPDATE_RATE = 2;

/**
 * The highest rate of an optimizer. It goes with the square root of the part of the training set that is
 * in a batch: twice as many steps, each shorter by √2.
 */
export function defaultRate(
  optimizer: OptimizerName,
  step: StepOptions,
  { batchSize, samples }: { batchSize: number; samples: number },
): number {
  const rate = schedules.sqrtBatchScaling({
    lr: tunedRate(optimizer, step),
    batchSize,
    baseBatchSize: Math.max(1, Math.round((samples * TUNED_BATCH_SIZE) / TUNED_SAMPLES)),
  });
  // Three digits, as people write rates.
  return Number(rate.toPrecision(3));
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
