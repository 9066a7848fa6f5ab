/** Messages between the training thread and a gradient worker, and the memory they share. */
import type { Dataset } from "../data/dataset.js";
import type { Evaluation, NetworkOptions } from "../models/model.js";

/** Memory of one lane: a model that is trained beside others by the same workers. */
export interface LaneArrays {
  /** Rows of the training set in the order of this epoch. */
  readonly order: Int32Array;
  /** What is evaluated: rows of the training or of the test set. */
  readonly evaluation: EvaluationRows;
  /** Weights of each parameter. */
  readonly weights: readonly Float32Array[];
  /** Slots for the gradients of micro-batches; in each, one array a parameter. */
  readonly slots: readonly (readonly Float32Array[])[];
}

export interface EvaluationRows {
  readonly part: "train" | "test";
  readonly rows: Int32Array;
}

export interface WorkerSetup {
  readonly dataset: Pick<Dataset, "train" | "test">;
  readonly network: NetworkOptions;
}

/** Samples from `begin` up to `end`: places in the lane's order, or in its rows to be evaluated. */
export interface Task {
  readonly kind: "gradients" | "evaluate";
  readonly lane: number;
  readonly begin: number;
  readonly end: number;
  /** Where gradients go. */
  readonly slot: number;
  readonly weightsVersion: number;
}

export type Request =
  { kind: "open"; lane: number; arrays: LaneArrays } | { kind: "close"; lane: number } | Task;

/** The score of a task. */
export interface PieceScore extends Evaluation {
  /** |g|² of each parameter's gradient of the summed loss; empty where no gradient was asked for. */
  readonly sumSquares: readonly number[];
}

export type Reply = { kind: "score"; score: PieceScore } | { kind: "failed"; message: string };
