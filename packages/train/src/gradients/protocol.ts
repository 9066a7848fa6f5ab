/** What the training thread and a gradient worker say to each other, and the memory that they share. */
import type { Dataset } from "../data/dataset.js";
import type { Evaluation, NetworkOptions } from "../models/model.js";

/** Memory that all workers and the training thread see. */
export interface SharedArrays {
  readonly dataset: Pick<Dataset, "train" | "test">;
  /** Training samples in the order of this epoch. */
  readonly order: Int32Array;
  /** Weights of each parameter. */
  readonly weights: readonly Float32Array[];
  /** Slots for the gradients of micro-batches; in each, one array a parameter. */
  readonly slots: readonly (readonly Float32Array[])[];
}

export interface WorkerSetup extends SharedArrays {
  readonly network: NetworkOptions;
}

/** Samples from `begin` up to `end`: places in the order, or rows of the test set. */
export type Task =
  | { kind: "gradients"; begin: number; end: number; slot: number; weightsVersion: number }
  | { kind: "evaluate"; begin: number; end: number; weightsVersion: number };

export type Reply = { kind: "score"; score: Evaluation } | { kind: "failed"; message: string };
