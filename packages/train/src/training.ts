/** Trains one model with one optimizer: epochs of batches. */
import { NonFiniteGradientError, Parameter, gradientNoise, smoothNoise } from "layerwise";
import type { SmoothedNoise, StepReport } from "layerwise";
import type { Checkpoint } from "layerwise/checkpoint";
import { countConfusion } from "./confusion.js";
import { TrainingError, UsageError, messageOf } from "./errors.js";
import type { BatchScore, GradientLane } from "./gradients/pool.js";
import type { EpochMetrics, Metrics, StepMetrics } from "./metrics.js";
import type { Evaluation, Score } from "./models/model.js";
import { initialWeights, parametersOf } from "./models/parameters.js";
import { createOptimizer } from "./optimizers/create.js";
import { learningRates } from "./optimizers/rates.js";
import type { StepOptimizer } from "./optimizers/step-optimizer.js";
import type { TrainingPlan } from "./plan.js";
import { Random, STREAMS } from "./random.js";

/** Where training is: what a checkpoint says of it. */
export interface Position {
  /** Epochs that are done. */
  epoch: number;
  step: number;
}

/** What happens to what training finds out. */
export interface TrainingEvents {
  /** A step or an epoch, as soon as it is done. */
  onMetrics(metrics: Metrics): void;
  /** The end of an epoch, where training can go on later: see {@link Training.checkpoint}. */
  onEpoch(): void;
}

/** A batch of an epoch: places in the order of the samples. */
interface BatchRange {
  begin: number;
  end: number;
}

/** Smoothed noise of all parameters together, then of each; null until a batch has two micro-batches. */
type Noise = readonly (SmoothedNoise | null)[];

export class Training {
  readonly #plan: TrainingPlan;
  readonly #lane: GradientLane;
  readonly #rows: Int32Array;
  readonly #parameters: Parameter[];
  readonly #optimizer: StepOptimizer;
  #position: Position = { epoch: 0, step: 0 };
  #noise: Noise;

  /** @throws UsageError when layerwise refuses the options */
  constructor(plan: TrainingPlan, lane: GradientLane) {
    this.#plan = plan;
    this.#lane = lane;
    this.#rows = lane.order.slice();
    const random = new Random(plan.seed, STREAMS.weights);
    this.#parameters = parametersOf(plan.model).map((spec) => {
      const parameter = Parameter.allocate(spec.shape, { name: spec.name });
      parameter.data.set(initialWeights(spec, plan.init, random));
      return parameter;
    });
    this.#noise = new Array<null>(this.#parameters.length + 1).fill(null);
    this.#optimizer = this.#createOptimizer();
  }

  /**
   * Goes on from a checkpoint.
   *
   * @throws UsageError when it is of another model
   */
  restore(checkpoint: Checkpoint, position: Position): void {
    const { tensors = {}, metadata = {} } = checkpoint;
    for (const { name, data } of this.#parameters) {
      const saved = tensors[name ?? ""];
      if (saved?.data.length !== data.length) {
        throw new UsageError(
          `${String(name)}: expected ${data.length} weights, got ${String(saved?.data.length)}`,
        );
      }
      data.set(saved.data);
    }
    try {
      this.#optimizer.restore(checkpoint);
      this.#noise = savedNoise(metadata.noise, this.#noise.length);
    } catch (error) {
      throw new UsageError(messageOf(error));
    }
    this.#position = { ...position };
  }

  /** Everything that is needed to go on from the end of an epoch. */
  checkpoint(): Checkpoint {
    const { tensors: state, ...rest } = this.#optimizer.save();
    const tensors: Checkpoint["tensors"] = { ...state };
    for (const { name, shape, data } of this.#parameters) tensors[name!] = { shape, data };
    return { ...rest, tensors, metadata: { noise: JSON.stringify(this.#noise) } };
  }

  /**
   * Trains to the last epoch.
   *
   * @throws TrainingError when the loss or a gradient is not finite
   */
  async run(events: TrainingEvents): Promise<void> {
    while (this.#position.epoch < this.#plan.epochs) {
      const started = performance.now();
      const score = await this.trainEpoch((line) => {
        events.onMetrics(line);
      });
      const seconds = (performance.now() - started) / 1000;
      const test = await this.evaluate();
      events.onMetrics(this.#epochMetrics(score, test, seconds));
      events.onEpoch();
    }
  }

  /** Trains one epoch. Returns the sums over its samples, each before the step that it was in. */
  async trainEpoch(onStep: (metrics: StepMetrics) => void): Promise<Score> {
    const total = { loss: 0, correct: 0 };
    this.#lane.order.set(this.#rows);
    const { seed } = this.#plan;
    new Random(seed, STREAMS.shuffle(this.#position.epoch)).shuffle(this.#lane.order);
    this.#lane.setWeights(this.#weights());
    for (const batch of this.#batches()) {
      const score = await this.#runStep(batch, onStep);
      total.loss += score.loss;
      total.correct += score.correct;
    }
    this.#position.epoch++;
    return total;
  }

  /** Sums over the samples that the lane evaluates. */
  async evaluate(): Promise<Evaluation> {
    this.#lane.setWeights(this.#weights());
    const score = await this.#lane.evaluate();
    this.#checkFinite(score.loss, "the loss of the evaluation");
    return score;
  }

  /** Where training is now. */
  get position(): Position {
    return { ...this.#position };
  }

  /** Gives the memory of parameters and state back. */
  dispose(): void {
    this.#optimizer.dispose();
    for (const parameter of this.#parameters) parameter.dispose();
  }

  #createOptimizer(): StepOptimizer {
    const { optimizer, setting, step, schedule, warmupSteps, epochs, stepsPerEpoch } = this.#plan;
    const { shardState } = this.#plan;
    const steps = epochs * stepsPerEpoch;
    const lr = learningRates(setting.lr, { schedule, warmupSteps, steps });
    try {
      const { team, threads } = this.#lane;
      const options = { step, lr, maxGradNorm: setting.maxGradNorm, shardState };
      return createOptimizer(optimizer, this.#parameters, { ...options, team, threads });
    } catch (error) {
      throw new UsageError(messageOf(error));
    }
  }

  /** The steps of an epoch; the last batch is smaller when they do not divide the samples. */
  *#batches(): Generator<BatchRange> {
    const { batchSize, stepsPerEpoch } = this.#plan;
    const samples = Math.min(this.#lane.order.length, batchSize * stepsPerEpoch);
    for (let begin = 0; begin < samples; begin += batchSize) {
      yield { begin, end: Math.min(begin + batchSize, samples) };
    }
  }

  async #runStep(batch: BatchRange, onStep: (metrics: StepMetrics) => void): Promise<Score> {
    const samples = batch.end - batch.begin;
    const started = performance.now();
    const score = await this.#lane.gradients(batch, this.#parameters);
    if (!this.#optimizer.addsUpGradients) {
      this.#lane.team.sum(this.#parameters.map(({ grad }) => grad!));
    }
    this.#checkFinite(score.loss, "the loss");
    const computed = performance.now();
    const report = this.#stepOptimizer(samples);
    const stepped = performance.now();
    this.#lane.setWeights(this.#weights());
    this.#position.step++;
    this.#addNoise(score, report);
    const { lr, gradNorm, layers } = report;
    onStep({
      kind: "step",
      optimizer: this.#plan.optimizer,
      epoch: this.#position.epoch + 1,
      step: this.#position.step,
      lr,
      loss: score.loss / samples,
      gradNorm,
      gradientMs: computed - started,
      optimizerMs: stepped - computed,
      layers,
      noise: this.#noiseMetrics(),
    });
    return score;
  }

  /** The gradients are sums over the samples of the batch: gradScale makes means of them. */
  #stepOptimizer(samples: number): StepReport {
    try {
      return this.#optimizer.step(1 / samples);
    } catch (error) {
      if (!(error instanceof NonFiniteGradientError)) throw error;
      throw this.#failure("the gradient", error.layer);
    }
  }

  #addNoise({ parts }: BatchScore, { layers }: StepReport): void {
    const micro = parts[0]!;
    if (micro.length < 2) return;
    const squares = this.#parameters.map(
      ({ name }) => layers.find((layer) => layer.name === name)!.gradNorm ** 2,
    );
    const total = micro.map(({ samples }, piece) => ({
      samples,
      sumSquares: parts.reduce((sum, own) => sum + own[piece]!.sumSquares, 0),
    }));
    const all = squares.reduce((sum, square) => sum + square, 0);
    const found = [gradientNoise(total, all)];
    parts.forEach((own, index) => found.push(gradientNoise(own, squares[index]!)));
    this.#noise = found.map((noise, index) => smoothNoise(this.#noise[index] ?? null, noise));
  }

  #noiseMetrics(): StepMetrics["noise"] {
    const [all, ...own] = this.#noise;
    if (all === null || all === undefined) return null;
    const { gradSquared, trace, scale } = all;
    const layers = own.map((noise, index) => ({
      name: this.#parameters[index]!.name!,
      scale: noise?.scale ?? null,
    }));
    return { gradSquared, trace, scale, layers };
  }

  #epochMetrics(score: Score, test: Evaluation, seconds: number): EpochMetrics {
    const { batchSize, stepsPerEpoch, optimizer } = this.#plan;
    const samples = Math.min(this.#lane.order.length, batchSize * stepsPerEpoch);
    const { epoch, step } = this.#position;
    return {
      kind: "epoch",
      optimizer,
      epoch,
      step,
      trainLoss: score.loss / samples,
      trainAccuracy: score.correct / samples,
      testLoss: test.loss / this.#lane.evaluated,
      testAccuracy: test.correct / this.#lane.evaluated,
      seconds,
      samplesPerSecond: samples / seconds,
      stateBytes: this.#optimizer.stateBytes,
      confusion: countConfusion(this.#lane.labels, test.predictions, this.#plan.model.classes),
    };
  }

  /** A loss that is not finite has its cause in a layer: the first whose gradient or weights show it. */
  #checkFinite(loss: number, what: string): void {
    if (Number.isFinite(loss)) return;
    const isBroken = (values: Float32Array | null): boolean =>
      values?.some((value) => !Number.isFinite(value)) ?? false;
    const first = (values: (parameter: Parameter) => Float32Array | null): number => {
      const own = this.#parameters.findIndex((parameter) => isBroken(values(parameter)));
      // Processes may see a part of the gradients only.
      const all = this.#lane.team.gatherOne(own).filter((index) => index >= 0);
      return all.length === 0 ? -1 : Math.min(...all);
    };
    const [inData, inGrad] = [first(({ data }) => data), first(({ grad }) => grad)];
    const layer = this.#parameters[inData] ?? this.#parameters[inGrad];
    throw this.#failure(`${what} (${loss})`, layer?.name ?? "none: the outputs overflow");
  }

  #failure(what: string, layer: string): TrainingError {
    const { epoch, step } = this.#position;
    return new TrainingError(
      `${this.#plan.optimizer}: ${what} is not finite at step ${step + 1}, epoch ${epoch + 1}; first layer that shows it: ${layer}. A lower --lr may help`,
    );
  }

  #weights(): Float32Array[] {
    return this.#parameters.map(({ data }) => data);
  }
}

/** @throws TypeError when the text is not what {@link Training.checkpoint} wrote */
function savedNoise(text: string | undefined, length: number): Noise {
  const noise: unknown = JSON.parse(text ?? "null");
  const isNoise = (value: unknown): boolean =>
    value === null ||
    (typeof value === "object" &&
      ["gradSquared", "trace", "weight"].every((name) =>
        Number.isFinite((value as Record<string, unknown>)[name]),
      ));
  if (Array.isArray(noise) && noise.length === length && noise.every(isNoise)) {
    return noise as Noise;
  }
  throw new TypeError("metadata: noise: expected the noise of every layer, got something else");
}
