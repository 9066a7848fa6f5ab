/**
 * Gradients of large batches: micro-batches on worker threads, added up in their order. Sums are the
 * same bits for any number of workers.
 */
import { accumulate } from "layerwise";
import type { BatchPart, Parameter } from "layerwise";
import { rowsUpTo, sharedFloat32, sharedInt32 } from "../data/dataset.js";
import type { Dataset } from "../data/dataset.js";
import type { Evaluation, ModelConfig, Score } from "../models/model.js";
import { elementCount, parametersOf } from "../models/parameters.js";
import { enableFusedMultiplyAdd } from "./fused-multiply-add.js";
import type { LaneArrays, PieceScore, Task } from "./protocol.js";
import { WorkerThreads } from "./workers.js";

export interface PoolOptions {
  readonly dataset: Dataset;
  readonly config: ModelConfig;
  readonly microBatch: number;
  readonly workers: number;
}

/** What one model is trained and evaluated on. */
export interface LaneRows {
  /** Rows of the training set. */
  readonly training: Int32Array;
  /** Rows of the training set that are held out and evaluated; null: the test set is. */
  readonly heldOut: Int32Array | null;
}

/** Samples from `begin` up to `end`. */
interface Range {
  begin: number;
  end: number;
}

/** What came out of a batch. */
export interface BatchScore extends Score {
  /** For each parameter, the micro-batches with |g|² of their mean gradients. */
  readonly parts: readonly (readonly BatchPart[])[];
}

/** Slots for gradients a worker: one that is filled, one that waits for its turn in the sum. */
const SLOTS_PER_WORKER = 2;

export class GradientPool {
  readonly #options: PoolOptions;
  readonly #workers: WorkerThreads;
  #opened = 0;

  constructor(options: PoolOptions) {
    const { dataset, config, microBatch, workers } = options;
    this.#options = options;
    enableFusedMultiplyAdd();
    const { train, test, mean, scale } = dataset;
    const network = { config, batchRows: microBatch, normalisation: { mean, scale } };
    this.#workers = new WorkerThreads({ dataset: { train, test }, network }, workers);
  }

  /**
   * Opens a lane for one model.
   *
   * @param lanes how many will be open at a time, which share the memory for gradients
   */
  open({ training, heldOut }: LaneRows, lanes = 1): GradientLane {
    const { config, dataset, microBatch } = this.#options;
    const sizes = parametersOf(config).map(elementCount);
    const slots = Math.ceil((this.#workers.count * SLOTS_PER_WORKER) / lanes);
    const arrays: LaneArrays = {
      order: sharedRows(training),
      evaluation:
        heldOut === null
          ? { part: "test", rows: sharedRows(rowsUpTo(dataset.test.labels.length)) }
          : { part: "train", rows: sharedRows(heldOut) },
      weights: sizes.map(sharedFloat32),
      slots: Array.from({ length: slots }, () => sizes.map(sharedFloat32)),
    };
    const { part, rows } = arrays.evaluation;
    const labels = Uint16Array.from(rows, (row) => dataset[part].labels[row]!);
    const lane = this.#opened++;
    return new GradientLane(arrays, { lane, microBatch, workers: this.#workers, labels });
  }

  /** Worker threads. */
  get workers(): number {
    return this.#workers.count;
  }

  async close(): Promise<void> {
    await this.#workers.close();
  }
}

function sharedRows(rows: Int32Array): Int32Array<SharedArrayBuffer> {
  const shared = sharedInt32(rows.length);
  shared.set(rows);
  return shared;
}

/** What a lane has of its pool. */
interface LaneParts {
  readonly lane: number;
  readonly microBatch: number;
  readonly workers: WorkerThreads;
  /** The class of each sample that is evaluated. */
  readonly labels: Uint16Array;
}

/** One model's weights, samples and sums; close it when the model is trained. */
export class GradientLane {
  /** Rows of the training set, in the order in which batches take them: write it before an epoch. */
  readonly order: Int32Array;
  /** How many samples {@link evaluate} scores. */
  readonly evaluated: number;
  readonly #labels: Uint16Array;
  readonly #arrays: LaneArrays;
  readonly #lane: number;
  readonly #microBatch: number;
  readonly #workers: WorkerThreads;
  #weightsVersion = 0;

  constructor(arrays: LaneArrays, parts: LaneParts) {
    this.order = arrays.order;
    this.evaluated = arrays.evaluation.rows.length;
    this.#labels = parts.labels;
    this.#arrays = arrays;
    this.#lane = parts.lane;
    this.#microBatch = parts.microBatch;
    this.#workers = parts.workers;
    this.#workers.tell({ kind: "open", lane: this.#lane, arrays });
  }

  /** Sets the weights that gradients and scores are computed with. */
  setWeights(weights: readonly Float32Array[]): void {
    weights.forEach((values, index) => {
      this.#arrays.weights[index]!.set(values);
    });
    this.#weightsVersion++;
  }

  /**
   * Adds up the gradients of the summed loss over part of the order.
   *
   * @param parameters whose gradients are written, in the order of the model's
   */
  async gradients(batch: Range, parameters: readonly Parameter[]): Promise<BatchScore> {
    const { slots } = this.#arrays;
    const pieces = this.#pieces(batch);
    const scores: PieceScore[] = [];
    const waiting = new Map<number, PieceScore>();
    for (const { grad } of parameters) grad?.fill(0);
    await this.#forEach("gradients", pieces, (piece, score) => {
      waiting.set(piece, score);
      for (let next = waiting.get(scores.length); next !== undefined;) {
        const slot = slots[scores.length % slots.length]!;
        parameters.forEach((parameter, index) => {
          accumulate(parameter, slot[index]!);
        });
        waiting.delete(scores.length);
        scores.push(next);
        next = waiting.get(scores.length);
      }
      // A piece goes into slot (piece mod slots), which must have been added up before.
      return scores.length + slots.length;
    });
    const parts = parameters.map((_, index) =>
      pieces.map(({ begin, end }, piece) => ({
        samples: end - begin,
        sumSquares: scores[piece]!.sumSquares[index]! / (end - begin) ** 2,
      })),
    );
    return { ...totalScore(scores), parts };
  }

  /** Loss, right answers and predictions over the rows that are evaluated. */
  async evaluate(): Promise<Evaluation> {
    const pieces = this.#pieces({ begin: 0, end: this.evaluated });
    const scores = new Array<Evaluation>(pieces.length);
    let done = 0;
    await this.#forEach("evaluate", pieces, (piece, score) => {
      scores[piece] = score;
      done++;
      return done + this.#arrays.slots.length;
    });
    const predictions = new Uint16Array(this.evaluated);
    scores.forEach((score, piece) => {
      predictions.set(score.predictions, pieces[piece]!.begin);
    });
    return { ...totalScore(scores), predictions };
  }

  /** The class of each sample that is evaluated. */
  get labels(): Uint16Array {
    return this.#labels;
  }

  close(): void {
    this.#workers.tell({ kind: "close", lane: this.#lane });
  }

  #pieces({ begin, end }: Range): Range[] {
    return Array.from({ length: Math.ceil((end - begin) / this.#microBatch) }, (_, index) => ({
      begin: begin + index * this.#microBatch,
      end: Math.min(begin + (index + 1) * this.#microBatch, end),
    }));
  }

  /**
   * Runs the pieces in their order, as many at a time as there are slots.
   *
   * @param done takes a score, and returns up to where pieces may start
   */
  async #forEach(
    kind: Task["kind"],
    pieces: readonly Range[],
    done: (piece: number, score: PieceScore) => number,
  ): Promise<void> {
    const slots = this.#arrays.slots.length;
    await new Promise<void>((resolve, reject) => {
      let next = 0;
      let remaining = pieces.length;
      const startUpTo = (limit: number): void => {
        for (; next < Math.min(limit, pieces.length); next++) {
          const piece = next;
          const task = { kind, lane: this.#lane, ...pieces[piece]!, slot: piece % slots };
          this.#workers.run({ ...task, weightsVersion: this.#weightsVersion }).then((score) => {
            const limitNow = done(piece, score);
            if (--remaining === 0) resolve();
            else startUpTo(limitNow);
          }, reject);
        }
      };
      startUpTo(slots);
    });
  }
}

/** Added in the order of the pieces. */
function totalScore(scores: readonly Score[]): Score {
  return scores.reduce(
    (sum, { loss, correct }) => ({ loss: sum.loss + loss, correct: sum.correct + correct }),
    { loss: 0, correct: 0 },
  );
}
