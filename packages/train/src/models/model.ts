/** What a model is: parameters with first weights, and a network that computes their gradients. */
import type { Dataset, Samples } from "../data/dataset.js";

export const MODELS = ["mlp", "lenet"] as const;

export type ModelName = (typeof MODELS)[number];

/** Which model, and the sizes that the data set and the options give it. */
export interface ModelConfig {
  readonly model: ModelName;
  /** Hidden layers of the MLP. */
  readonly hidden: readonly number[];
  readonly featureShape: readonly number[];
  readonly classes: number;
}

/** A parameter before there are weights. */
export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
  /** Inputs of one unit, which the first weights are scaled by. */
  readonly fanIn: number;
}

/** A batch: rows of a data set. */
export interface Batch {
  readonly samples: Samples;
  readonly rows: Int32Array;
}

/** Sums over the samples of a batch. */
export interface Score {
  /** Cross entropy, in nats. */
  readonly loss: number;
  /** Samples whose most probable class is the right one. */
  readonly correct: number;
}

/** The score of a batch, with each sample's prediction. */
export interface Evaluation extends Score {
  /** The most probable class of each sample, in the order of the batch. */
  readonly predictions: Uint16Array;
}

/** A model on a device. Batches have `batchRows` samples at most. */
export interface Network {
  /** Sets the weights. */
  setWeights(weights: readonly Float32Array[]): void;
  /** Writes the gradient of the summed loss for each parameter. */
  gradients(batch: Batch, gradients: readonly Float32Array[]): Evaluation;
  evaluate(batch: Batch): Evaluation;
}

/** What a network is created for. */
export interface NetworkOptions {
  readonly config: ModelConfig;
  readonly batchRows: number;
  readonly normalisation: Pick<Dataset, "mean" | "scale">;
}
