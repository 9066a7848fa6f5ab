/**
 * Gradients of large batches: micro-batches on worker threads, added up in their order. Sums are the
 * same bits for any number of workers.
 */
import { Worker } from "node:worker_threads";
import { accumulate } from "layerwise";
import type { Parameter } from "layerwise";
import { sharedFloat32, sharedInt32 } from "../data/dataset.js";
import type { Dataset } from "../data/dataset.js";
import type { Evaluation, ModelConfig, Score } from "../models/model.js";
import { elementCount, parametersOf } from "../models/parameters.js";
import { enableFusedMultiplyAdd } from "./fused-multiply-add.js";
import type { Reply, SharedArrays, Task, WorkerSetup } from "./protocol.js";

export interface PoolOptions {
  readonly dataset: Dataset;
  readonly config: ModelConfig;
  readonly microBatch: number;
  readonly workers: number;
}

/** Samples from `begin` up to `end`. */
interface Range {
  begin: number;
  end: number;
}

/** A task that runs, and what to do with its score. */
interface Running {
  resolve: (score: Evaluation) => void;
  reject: (error: Error) => void;
}

/** Slots for gradients a worker: one that is filled, one that waits for its turn in the sum. */
const SLOTS_PER_WORKER = 2;

export class GradientPool {
  /** Training samples, in the order in which batches take them: write it before an epoch. */
  readonly order: Int32Array;
  readonly #options: PoolOptions;
  readonly #shared: SharedArrays;
  readonly #workers: PoolWorker[];
  #weightsVersion = 0;

  constructor(options: PoolOptions) {
    const { dataset, config, microBatch, workers } = options;
    const sizes = parametersOf(config).map(elementCount);
    this.#options = options;
    this.#shared = {
      dataset: { train: dataset.train, test: dataset.test },
      order: sharedInt32(dataset.train.labels.length),
      weights: sizes.map(sharedFloat32),
      slots: Array.from({ length: workers * SLOTS_PER_WORKER }, () => sizes.map(sharedFloat32)),
    };
    this.order = this.#shared.order;
    const setup: WorkerSetup = {
      ...this.#shared,
      network: {
        config,
        batchRows: microBatch,
        normalisation: { mean: dataset.mean, scale: dataset.scale },
      },
    };
    enableFusedMultiplyAdd();
    this.#workers = Array.from({ length: workers }, () => new PoolWorker(setup));
  }

  /** The class of each sample of the test set. */
  get testLabels(): Uint16Array {
    return this.#options.dataset.test.labels;
  }

  /** Sets the weights that gradients and scores are computed with. */
  setWeights(weights: readonly Float32Array[]): void {
    weights.forEach((values, index) => {
      this.#shared.weights[index]!.set(values);
    });
    this.#weightsVersion++;
  }

  /**
   * Adds up the gradients of the summed loss over part of the order.
   *
   * @param parameters whose gradients are written, in the order of the model's
   */
  async gradients(batch: Range, parameters: readonly Parameter[]): Promise<Score> {
    const { slots } = this.#shared;
    const pieces = this.#pieces(batch);
    const scores: Score[] = [];
    let added = 0;
    const waiting = new Map<number, Score>();
    for (const { grad } of parameters) grad?.fill(0);
    await this.#forEach(pieces, {
      // A piece goes into slot (piece mod slots), which must have been added up before.
      mayStart: (piece) => piece < added + slots.length,
      task: (piece, weightsVersion) => ({
        kind: "gradients",
        ...pieces[piece]!,
        slot: piece % slots.length,
        weightsVersion,
      }),
      done: (piece, score) => {
        waiting.set(piece, score);
        for (let next = waiting.get(added); next !== undefined; next = waiting.get(added)) {
          const slot = slots[added % slots.length]!;
          parameters.forEach((parameter, index) => {
            accumulate(parameter, slot[index]!);
          });
          scores.push(next);
          waiting.delete(added++);
        }
      },
    });
    return totalScore(scores);
  }

  /** Loss, right answers and predictions over the test set. */
  async evaluate(): Promise<Evaluation> {
    const pieces = this.#pieces({ begin: 0, end: this.#options.dataset.test.labels.length });
    const scores = new Array<Evaluation>(pieces.length);
    await this.#forEach(pieces, {
      mayStart: () => true,
      task: (piece, weightsVersion) => ({ kind: "evaluate", ...pieces[piece]!, weightsVersion }),
      done: (piece, score) => (scores[piece] = score),
    });
    const predictions = new Uint16Array(this.#options.dataset.test.labels.length);
    scores.forEach((score, piece) => {
      predictions.set(score.predictions, pieces[piece]!.begin);
    });
    return { ...totalScore(scores), predictions };
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.close()));
  }

  #pieces({ begin, end }: Range): Range[] {
    const { microBatch } = this.#options;
    return Array.from({ length: Math.ceil((end - begin) / microBatch) }, (_, index) => ({
      begin: begin + index * microBatch,
      end: Math.min(begin + (index + 1) * microBatch, end),
    }));
  }

  /** Hands the pieces out in their order, each to the next worker that is free. */
  async #forEach(
    pieces: readonly Range[],
    steps: {
      mayStart: (piece: number) => boolean;
      task: (piece: number, weightsVersion: number) => Task;
      done: (piece: number, score: Evaluation) => void;
    },
  ): Promise<void> {
    let next = 0;
    const idle = [...this.#workers];
    await new Promise<void>((resolve, reject) => {
      let remaining = pieces.length;
      const start = (): void => {
        while (idle.length > 0 && next < pieces.length && steps.mayStart(next)) {
          const piece = next++;
          const worker = idle.pop()!;
          worker.run(steps.task(piece, this.#weightsVersion)).then((score) => {
            idle.push(worker);
            steps.done(piece, score);
            if (--remaining === 0) resolve();
            else start();
          }, reject);
        }
      };
      start();
    });
  }
}

/** One worker thread and the task that it runs. */
class PoolWorker {
  readonly #worker: Worker;
  #running: Running | null = null;
  /** Why the thread is gone, if it is. */
  #broken: Error | null = null;

  constructor(setup: WorkerSetup) {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: setup });
    this.#worker.on("message", (reply: Reply) => {
      const running = this.#running;
      this.#running = null;
      if (reply.kind === "score") running?.resolve(reply.score);
      else running?.reject(new Error(reply.message));
    });
    this.#worker.on("error", (error: Error) => {
      this.#broken = error;
      this.#running?.reject(error);
    });
  }

  run(task: Task): Promise<Evaluation> {
    if (this.#broken !== null) return Promise.reject(this.#broken);
    return new Promise((resolve, reject) => {
      this.#running = { resolve, reject };
      this.#worker.postMessage(task);
    });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

/** Added in the order of the pieces. */
function totalScore(scores: readonly Score[]): Score {
  return scores.reduce(
    (sum, { loss, correct }) => ({ loss: sum.loss + loss, correct: sum.correct + correct }),
    { loss: 0, correct: 0 },
  );
}
