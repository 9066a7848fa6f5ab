/** A run as it will be done: the options, completed with what the data set and the optimizers say. */
import { fingerprint } from "./data/dataset.js";
import type { Dataset } from "./data/dataset.js";
import { defaultRate } from "./default-rates.js";
import { UsageError } from "./errors.js";
import type { ModelConfig } from "./models/model.js";
import { checkModel } from "./models/parameters.js";
import type { OptimizerName } from "./optimizers.js";
import type { TrainOptions } from "./options.js";

/** The largest default: what the default rates were tuned at. */
const DEFAULT_BATCH_SIZE = 8192;
/** A data set that is smaller gets this many steps an epoch at least. */
const MIN_STEPS_PER_EPOCH = 7;

export interface Plan {
  readonly options: TrainOptions & { readonly batchSize: number };
  readonly model: ModelConfig;
  readonly stepsPerEpoch: number;
  /** The highest rate of each optimizer. */
  readonly rates: Rates;
  /** Tells data sets apart. */
  readonly fingerprint: string;
}

export type Rates = Readonly<Partial<Record<OptimizerName, number>>>;

/**
 * Fits options to a data set.
 *
 * @throws UsageError when they do not go together
 */
export function makePlan(options: TrainOptions, dataset: Dataset): Plan {
  const samples = dataset.train.labels.length;
  const batchSize = options.batchSize ?? defaultBatchSize(samples);
  if (batchSize > samples) {
    throw new UsageError(
      `--batch-size: got ${batchSize}; allowed is ${samples} or less, the samples of the training set`,
    );
  }
  const model: ModelConfig = {
    model: options.model,
    hidden: options.hidden ?? [],
    featureShape: dataset.featureShape,
    classes: dataset.classes.length,
  };
  checkModel(model);
  const completed = { ...options, batchSize };
  const rates = options.optimizer.map((optimizer) => [
    optimizer,
    options.lr ?? defaultRate(optimizer, options, { batchSize, samples }),
  ]);
  return {
    options: completed,
    model,
    rates: Object.fromEntries(rates) as Rates,
    stepsPerEpoch: Math.ceil(samples / batchSize),
    fingerprint: fingerprint(dataset),
  };
}

/** @param samples of the training set */
export function defaultBatchSize(samples: number): number {
  return Math.max(1, Math.min(DEFAULT_BATCH_SIZE, Math.floor(samples / MIN_STEPS_PER_EPOCH)));
}
