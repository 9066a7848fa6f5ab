/** Trains one model with one optimizer: epochs of batches, with a checkpoint after each. */
import { NonFiniteGradientError, Parameter } from "layerwise";
import type { StepReport } from "layerwise";
import type { Checkpoint } from "layerwise/checkpoint";
import type { HostOptimizer } from "layerwise/jax";
import { countConfusion } from "./confusion.js";
import { TrainingError, UsageError, messageOf } from "./errors.js";
import type { GradientPool } from "./gradients/pool.js";
import type { EpochMetrics, Metrics, StepMetrics } from "./metrics.js";
import type { Score } from "./models/model.js";
import { initialWeights, parametersOf } from "./models/parameters.js";
import { createOptimizer, learningRates, optimizerOptions } from "./optimizers.js";
import type { OptimizerName } from "./optimizers.js";
import type { Plan } from "./plan.js";
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
  /** Everything that is needed to go on from the end of an epoch. */
  onCheckpoint(checkpoint: Checkpoint, position: Position): void;
}

/** A batch of an epoch: places in the order of the samples. */
interface BatchRange {
  begin: number;
  end: number;
}

export class Training {
  readonly #plan: Plan;
  readonly #name: OptimizerName;
  readonly #pool: GradientPool;
  readonly #parameters: Parameter[];
  readonly #optimizer: HostOptimizer;
  #position: Position = { epoch: 0, step: 0 };

  /** @throws UsageError when layerwise refuses the options */
  constructor(plan: Plan, name: OptimizerName, pool: GradientPool) {
    this.#plan = plan;
    this.#name = name;
    this.#pool = pool;
    const random = new Random(plan.options.seed, STREAMS.weights);
    this.#parameters = parametersOf(plan.model).map((spec) => {
      const parameter = Parameter.allocate(spec.shape, { name: spec.name });
      parameter.data.set(initialWeights(spec, random));
      return parameter;
    });
    this.#optimizer = this.#createOptimizer();
  }

  /**
   * Goes on from a checkpoint.
   *
   * @throws UsageError when it is of another model
   */
  restore({ step, layers, tensors = {} }: Checkpoint, position: Position): void {
    for (const { name, data } of this.#parameters) {
      const saved = tensors[name ?? ""];
      if (saved?.data.length !== data.length) {
        throw new UsageError(
          `checkpoint: ${String(name)} has ${String(saved?.data.length)} weights; allowed are ${data.length}`,
        );
      }
      data.set(saved.data);
    }
    try {
      this.#optimizer.optimizer.loadStateDict({ step, layers });
    } catch (error) {
      throw new UsageError(`checkpoint: ${messageOf(error)}`);
    }
    this.#position = { ...position };
  }

  /**
   * Trains to the last epoch.
   *
   * @throws TrainingError when the loss or a gradient is not finite
   */
  async run(events: TrainingEvents): Promise<void> {
    while (this.#position.epoch < this.#plan.options.epochs) {
      const metrics = await this.#runEpoch(events);
      this.#position.epoch++;
      events.onMetrics(metrics);
      events.onCheckpoint(this.#checkpoint(), this.position);
    }
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

  #createOptimizer(): HostOptimizer {
    const { options, stepsPerEpoch, rates } = this.#plan;
    const lr = learningRates(rates[this.#name]!, {
      schedule: options.schedule,
      warmupSteps: Math.round(options.warmupEpochs * stepsPerEpoch),
      steps: options.epochs * stepsPerEpoch,
    });
    try {
      const values = optimizerOptions(this.#name, options, lr);
      return createOptimizer(this.#name, this.#parameters, values);
    } catch (error) {
      throw new UsageError(messageOf(error));
    }
  }

  async #runEpoch(events: TrainingEvents): Promise<EpochMetrics> {
    const started = performance.now();
    const total = { loss: 0, correct: 0 };
    this.#pool.order.forEach((_, index, order) => (order[index] = index));
    new Random(this.#plan.options.seed, STREAMS.shuffle(this.#position.epoch)).shuffle(
      this.#pool.order,
    );
    this.#pool.setWeights(this.#weights());
    for (const batch of this.#batches()) {
      const score = await this.#runStep(batch, events);
      total.loss += score.loss;
      total.correct += score.correct;
    }
    const seconds = (performance.now() - started) / 1000;
    const test = await this.#pool.evaluate();
    this.#checkFinite(test.loss, "the test loss");
    const samples = this.#pool.order.length;
    const testLabels = this.#pool.testLabels;
    return {
      kind: "epoch",
      optimizer: this.#name,
      epoch: this.#position.epoch + 1,
      step: this.#position.step,
      trainLoss: total.loss / samples,
      trainAccuracy: total.correct / samples,
      testLoss: test.loss / testLabels.length,
      testAccuracy: test.correct / testLabels.length,
      seconds,
      samplesPerSecond: samples / seconds,
      stateBytes: this.#optimizer.optimizer.stateBytes,
      confusion: countConfusion(testLabels, test.predictions, this.#plan.model.classes),
    };
  }

  /** All samples, in batches; the last is smaller when they do not divide. */
  *#batches(): Generator<BatchRange> {
    const { batchSize } = this.#plan.options;
    const samples = this.#pool.order.length;
    for (let begin = 0; begin < samples; begin += batchSize) {
      yield { begin, end: Math.min(begin + batchSize, samples) };
    }
  }

  async #runStep(batch: BatchRange, events: TrainingEvents): Promise<Score> {
    const samples = batch.end - batch.begin;
    const started = performance.now();
    const score = await this.#pool.gradients(batch, this.#parameters);
    this.#checkFinite(score.loss, "the loss");
    const computed = performance.now();
    const report = this.#stepOptimizer(samples);
    const stepped = performance.now();
    this.#pool.setWeights(this.#weights());
    this.#position.step++;
    events.onMetrics({
      ...this.#stepMetrics(report),
      loss: score.loss / samples,
      gradientMs: computed - started,
      optimizerMs: stepped - computed,
    });
    return score;
  }

  /** The gradients are sums over the samples of the batch: gradScale makes means of them. */
  #stepOptimizer(samples: number): StepReport {
    try {
      return this.#optimizer.step(undefined, { gradScale: 1 / samples });
    } catch (error) {
      if (!(error instanceof NonFiniteGradientError)) throw error;
      throw this.#failure("the gradient", error.layer);
    }
  }

  #stepMetrics({
    lr,
    gradNorm,
    layers,
  }: StepReport): Omit<StepMetrics, "loss" | "gradientMs" | "optimizerMs"> {
    const { epoch, step } = this.#position;
    return { kind: "step", optimizer: this.#name, epoch: epoch + 1, step, lr, gradNorm, layers };
  }

  /** A loss that is not finite has its cause in a layer: the first whose gradient or weights show it. */
  #checkFinite(loss: number, what: string): void {
    if (Number.isFinite(loss)) return;
    const isBroken = (values: Float32Array | null): boolean =>
      values?.some((value) => !Number.isFinite(value)) ?? false;
    const layer =
      this.#parameters.find(({ data }) => isBroken(data)) ??
      this.#parameters.find(({ grad }) => isBroken(grad));
    throw this.#failure(`${what} (${loss})`, layer?.name ?? "none: the outputs overflow");
  }

  #failure(what: string, layer: string): TrainingError {
    const { epoch, step } = this.#position;
    return new TrainingError(
      `${this.#name}: ${what} is not finite at step ${step + 1}, epoch ${epoch + 1}; first layer that shows it: ${layer}. A lower --lr may help`,
    );
  }

  #weights(): Float32Array[] {
    return this.#parameters.map(({ data }) => data);
  }

  #checkpoint(): Checkpoint {
    const tensors: Checkpoint["tensors"] = {};
    for (const { name, shape, data } of this.#parameters) tensors[name!] = { shape, data };
    return { ...this.#optimizer.optimizer.stateDict(), tensors };
  }
}
