/** The plan of a run: the options, completed from the data set and the optimizers. */
import { fingerprint } from "./data/dataset.js";
import type { Dataset } from "./data/dataset.js";
import { heldOutCount } from "./data/held-out.js";
import { UsageError } from "./errors.js";
import type { ModelConfig } from "./models/model.js";
import { checkModel } from "./models/parameters.js";
import type { Init } from "./models/parameters.js";
import type { OptimizerName } from "./optimizers/names.js";
import type { Setting, StepOptions } from "./optimizers/options.js";
import type { ScheduleName } from "./optimizers/rates.js";
import type { TrainOptions } from "./options.js";

/** The largest default: beyond it, a few epochs have too few steps. */
const DEFAULT_BATCH_SIZE = 8192;
/** A data set that is smaller gets this many steps an epoch at least. */
const MIN_STEPS_PER_EPOCH = 7;
export const DEFAULT_EPOCHS = 10;
/** A data set that is smaller than a tenth of this gets more epochs: 70 steps are few. */
const MIN_SAMPLES_SEEN = 30_000;
/** The part of a run in which the rate rises. */
const WARMUP_PART = 1 / 5;

/** Options with the defaults that depend on the data set filled in. */
export type CompleteOptions = TrainOptions &
  Readonly<Record<"batchSize" | "epochs" | "warmupEpochs", number>>;

export interface Plan {
  readonly options: CompleteOptions;
  readonly model: ModelConfig;
  readonly stepsPerEpoch: number;
  /** Tells data sets apart. */
  readonly fingerprint: string;
}

/** Rate and clipping of each optimizer. */
export type Settings = Readonly<Partial<Record<OptimizerName, Setting>>>;

/** A plan, and the settings known so far. */
export interface PlannedRun {
  readonly plan: Plan;
  readonly settings: Settings;
}

/** The training of one model with one optimizer, from first weights to last. */
export interface TrainingPlan {
  readonly optimizer: OptimizerName;
  readonly setting: Setting;
  readonly step: StepOptions;
  readonly model: ModelConfig;
  readonly init: Init;
  readonly seed: number;
  readonly batchSize: number;
  readonly epochs: number;
  readonly stepsPerEpoch: number;
  readonly warmupSteps: number;
  readonly schedule: ScheduleName;
  readonly shardState: boolean;
}

/**
 * Fits options to a data set.
 *
 * @throws UsageError when they do not go together
 */
export function makePlan(options: TrainOptions, dataset: Dataset): Plan {
  const all = dataset.train.labels.length;
  const samples = options.holdOut ? all - heldOutCount(all) : all;
  const batchSize = options.batchSize ?? defaultBatchSize(samples);
  if (batchSize > samples) {
    throw new UsageError(
      `--batch-size: expected ${samples} or less, the samples of the training set, got ${batchSize}`,
    );
  }
  const epochs = options.epochs ?? Math.max(DEFAULT_EPOCHS, Math.ceil(MIN_SAMPLES_SEEN / samples));
  const warmupEpochs = options.warmupEpochs ?? defaultWarmup(epochs);
  if (warmupEpochs >= epochs) {
    throw new UsageError(
      `--warmup-epochs: expected less than ${epochs} epochs, got ${warmupEpochs}`,
    );
  }
  const model: ModelConfig = {
    model: options.model,
    hidden: options.hidden ?? [],
    featureShape: dataset.featureShape,
    classes: dataset.classes.length,
  };
  checkModel(model);
  return {
    options: { ...options, batchSize, epochs, warmupEpochs },
    model,
    stepsPerEpoch: Math.ceil(samples / batchSize),
    fingerprint: fingerprint(dataset),
  };
}

/** One optimizer's part of a run. */
export function trainingPlan(
  { options, model, stepsPerEpoch }: Plan,
  optimizer: OptimizerName,
  setting: Setting,
): TrainingPlan {
  const { init, seed, batchSize, epochs, warmupEpochs, schedule, shardState } = options;
  const warmupSteps = Math.round(warmupEpochs * stepsPerEpoch);
  const length = { batchSize, epochs, stepsPerEpoch, warmupSteps };
  const names = { optimizer, setting, step: options, model, init, seed, schedule, shardState };
  return { ...names, ...length };
}

/** @param samples of the training set */
export function defaultBatchSize(samples: number): number {
  return Math.max(1, Math.min(DEFAULT_BATCH_SIZE, Math.floor(samples / MIN_STEPS_PER_EPOCH)));
}

/** @param samples of the training set */
export function defaultEpochs(samples: number): number {
  return Math.max(DEFAULT_EPOCHS, Math.ceil(MIN_SAMPLES_SEEN / samples));
}

export function defaultWarmup(epochs: number): number {
  return epochs * WARMUP_PART;
}
