/**
 * Gradients of large batches: micro-batches on worker threads, added up in the order of a tree. Sums are the
 * same bits for any number of workers.
 */
import { Parameter, accumulate } from "layerwise";
import type { BatchPart } from "layerwise";
import { rowsUpTo, sharedFloat32, sharedInt32 } from "../data/dataset.js";
import type { Dataset } from "../data/dataset.js";
import { Team } from "../distributed/team.js";
import type { Evaluation, ModelConfig, Score } from "../models/model.js";
import { elementCount, parametersOf } from "../models/parameters.js";
import { enableFusedMultiplyAdd } from "./fused-multiply-add.js";
import type { LaneArrays, PieceScore, Task } from "./protocol.js";
import { PartialSums, depthOf, ownPlaces } from "./summation-tree.js";
import { WorkerThreads } from "./workers.js";

export interface PoolOptions {
  readonly dataset: Dataset;
  readonly config: ModelConfig;
  readonly microBatch: number;
  readonly workers: number;
  /** The processes that share each batch. Default: this one alone. */
  readonly team?: Team;
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
  readonly #team: Team;
  #opened = 0;

  constructor(options: PoolOptions) {
    const { dataset, config, microBatch, workers } = options;
    this.#options = options;
    this.#team = options.team ?? Team.alone();
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
    // Sums wait in slots too, one a level of the tree. Slots that no batch needs take no memory: nothing touches them.
    const slots =
      Math.ceil((this.#workers.count * SLOTS_PER_WORKER) / lanes) +
      depthOf(Math.ceil(training.length / microBatch));
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
    const parts = { lane, microBatch, workers: this.#workers, labels, team: this.#team };
    return new GradientLane(arrays, parts);
  }

  /** How many lanes may work at a time: one where processes must exchange in the same order. */
  get mostLanes(): number {
    return this.#team.size === 1 ? this.#workers.count : 1;
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
  readonly team: Team;
}

type MicroBatchScore = Omit<PieceScore, "predictions">;

/** Pieces that the workers do, and the slots that they may use. */
interface PieceTasks {
  readonly kind: Task["kind"];
  readonly pieces: readonly Range[];
  /** Changes as slots are taken and given back. */
  readonly free: number[];
}

/** One model's weights, samples and sums; close it when the model is trained. */
export class GradientLane {
  /** Rows of the training set, in the order in which batches take them: write it before an epoch. */
  readonly order: Int32Array;
  /** How many samples {@link evaluate} scores. */
  readonly evaluated: number;
  /** The processes that share each batch. */
  readonly team: Team;
  /** Threads of this process. */
  readonly threads: number;
  readonly #labels: Uint16Array;
  readonly #arrays: LaneArrays;
  readonly #lane: number;
  readonly #microBatch: number;
  readonly #workers: WorkerThreads;
  /** The slots as the library's accumulate() takes them: each is the gradient of its parameter. */
  readonly #sums: readonly (readonly Parameter[])[];
  #weightsVersion = 0;

  constructor(arrays: LaneArrays, parts: LaneParts) {
    this.order = arrays.order;
    this.evaluated = arrays.evaluation.rows.length;
    this.#labels = parts.labels;
    this.#arrays = arrays;
    this.#lane = parts.lane;
    this.#microBatch = parts.microBatch;
    this.#workers = parts.workers;
    this.team = parts.team;
    this.threads = parts.workers.count;
    this.#sums = arrays.slots.map((slot) => slot.map(asOwnGradient));
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
   * Adds up the gradients of the summed loss over part of the order: this process's part of it. Scores are of all
   * processes.
   *
   * @param parameters whose gradients are written, in the order of the model's
   */
  async gradients(batch: Range, parameters: readonly Parameter[]): Promise<BatchScore> {
    const pieces = this.#pieces(batch);
    const places = ownPlaces(pieces.length, this.team);
    const own = places.filter((piece) => piece !== null);
    const ownScores = new Array<PieceScore>(own.length);
    const free = this.#freeSlots();
    const filled = new Map<number, number>();
    const sums = new PartialSums<number>((sum, part) => {
      this.#addSlots(sum, part);
      free.push(part);
    });
    let next = 0;
    /** Gives the tree all places up to the first whose gradients are not there yet. */
    const addFilled = (): void => {
      for (; next < places.length; next++) {
        const piece = places[next] ?? null;
        const slot = piece === null ? null : filled.get(piece);
        if (slot === undefined) return;
        sums.push(slot);
      }
    };
    addFilled();
    const tasks = { kind: "gradients" as const, pieces: own.map((piece) => pieces[piece]!), free };
    await this.#forEach(tasks, (index, score, slot) => {
      ownScores[index] = score;
      filled.set(own[index]!, slot);
      addFilled();
    });
    this.#writeGradients(sums.finish(), parameters);
    const scores = this.#exchange(ownScores, { pieces: pieces.length, layers: parameters.length });
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
    const { rank, size } = this.team;
    const pieces = this.#pieces({ begin: 0, end: this.evaluated });
    /** Processes take parts that lie one after the other. */
    const firstOf = (of: number): number => Math.floor((of * pieces.length) / size);
    const own = pieces.slice(firstOf(rank), firstOf(rank + 1));
    const scores = new Array<Evaluation>(own.length);
    const free = this.#freeSlots();
    await this.#forEach({ kind: "evaluate", pieces: own, free }, (piece, score, slot) => {
      scores[piece] = score;
      free.push(slot);
    });
    const counts = Array.from({ length: size }, (_, of) => firstOf(of + 1) - firstOf(of));
    const numbers = this.team.gather(
      scores.flatMap(({ loss, correct }) => [loss, correct]),
      counts.map((count) => 2 * count),
    );
    const all = pieces.map((_, piece) => ({
      loss: numbers[2 * piece]!,
      correct: numbers[2 * piece + 1]!,
    }));
    const samplesOf = (of: number): number =>
      pieces
        .slice(firstOf(of), firstOf(of + 1))
        .reduce((sum, { begin, end }) => sum + end - begin, 0);
    const predictions = this.team.gather(
      scores.flatMap((score) => [...score.predictions]),
      counts.map((_, of) => samplesOf(of)),
    );
    return { ...totalScore(all), predictions: Uint16Array.from(predictions) };
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

  /** Gives all processes the scores of all pieces. */
  #exchange(
    own: readonly PieceScore[],
    { pieces, layers }: { pieces: number; layers: number },
  ): MicroBatchScore[] {
    const width = 2 + layers;
    const piecesOf = Array.from({ length: this.team.size }, (_, rank) =>
      ownPlaces(pieces, { rank, size: this.team.size }).filter((piece) => piece !== null),
    );
    const numbers = this.team.gather(
      own.flatMap(({ loss, correct, sumSquares }) => [loss, correct, ...sumSquares]),
      piecesOf.map(({ length }) => width * length),
    );
    const scores = new Array<MicroBatchScore>(pieces);
    piecesOf.flat().forEach((piece, index) => {
      const [loss, correct, ...sumSquares] = numbers.subarray(width * index, width * (index + 1));
      scores[piece] = { loss: loss!, correct: correct!, sumSquares };
    });
    return scores;
  }

  /** All slots; those at the end are taken first. */
  #freeSlots(): number[] {
    return this.#arrays.slots.map((_, slot) => slot).reverse();
  }

  #addSlots(sum: number, part: number): void {
    this.#sums[sum]!.forEach((parameter, index) => {
      accumulate(parameter, this.#arrays.slots[part]![index]!);
    });
  }

  /** @param slot null: no micro-batch is this process's. −0 adds nothing to any number, not even to −0 */
  #writeGradients(slot: number | null, parameters: readonly Parameter[]): void {
    parameters.forEach(({ grad }, index) => {
      if (slot === null) grad!.fill(-0);
      else grad!.set(this.#arrays.slots[slot]![index]!);
    });
  }

  /**
   * Runs the pieces in their order, as many at a time as there are free slots.
   *
   * @param done takes the score of a piece; it gives the slot back, at once or later
   */
  async #forEach(
    { kind, pieces, free }: PieceTasks,
    done: (index: number, score: PieceScore, slot: number) => void,
  ): Promise<void> {
    if (pieces.length === 0) return;
    await new Promise<void>((resolve, reject) => {
      let next = 0;
      let remaining = pieces.length;
      const start = (): void => {
        while (free.length > 0 && next < pieces.length) {
          const index = next++;
          const slot = free.pop()!;
          const task = { kind, lane: this.#lane, ...pieces[index]!, slot };
          this.#workers
            .run({ ...task, weightsVersion: this.#weightsVersion })
            .then((score) => {
              done(index, score, slot);
              if (--remaining === 0) resolve();
              else start();
            })
            .catch(reject);
        }
      };
      start();
    });
  }
}

function asOwnGradient(values: Float32Array): Parameter {
  const parameter = new Parameter(values);
  parameter.grad = values;
  return parameter;
}

/** Added in the order of the pieces. */
function totalScore(scores: readonly Score[]): Score {
  return scores.reduce(
    (sum, { loss, correct }) => ({ loss: sum.loss + loss, correct: sum.correct + correct }),
    { loss: 0, correct: 0 },
  );
}
