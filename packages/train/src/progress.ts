/** What a run shows while it goes: a progress bar on a terminal, a line an epoch elsewhere. */
import { SingleBar } from "cli-progress";
import { settingText } from "./describe.js";
import type { EpochMetrics, Metrics, StepMetrics } from "./metrics.js";
import type { OptimizerName } from "./optimizers/names.js";
import type { Plan } from "./plan.js";
import type { Trial } from "./search/rate-search.js";
import { bytes, duration, grouped, percent } from "./text.js";

const BAR_FORMAT =
  "{name} |{bar}| epoch {epoch}  loss {loss}  accuracy {accuracy}  {rate} samples/s  {left} left";

export class ProgressLog {
  readonly #plan: Plan;
  readonly #samples: number;
  readonly #bar: SingleBar | null;
  readonly #nameWidth: number;
  #lastEpoch: EpochMetrics | null = null;
  /** Since the optimizer began in this process. */
  #clock = { started: 0, steps: 0 };

  /** @param samples of the training set */
  constructor(plan: Plan, samples: number) {
    this.#plan = plan;
    this.#samples = samples;
    this.#nameWidth = nameWidth(plan);
    this.#bar = process.stdout.isTTY
      ? new SingleBar({
          format: BAR_FORMAT,
          stream: process.stdout,
          barsize: 20,
          hideCursor: true,
          stopOnComplete: false,
        })
      : null;
  }

  /** @param step where the optimizer goes on, 0 for a new one */
  begin(name: OptimizerName, step: number): void {
    this.#lastEpoch = null;
    this.#clock = { started: performance.now(), steps: 0 };
    this.#bar?.start(this.#totalSteps, step, {
      name: name.padEnd(this.#nameWidth),
      epoch: `0/${this.#plan.options.epochs}`,
      loss: "–",
      accuracy: "–",
      rate: "–",
      left: "–",
    });
  }

  add(metrics: Metrics): void {
    if (metrics.kind === "step") this.#addStep(metrics);
    if (metrics.kind === "epoch") this.#addEpoch(metrics);
  }

  /** A trial of the rate search; on a terminal a line that the next one replaces. */
  addTrial(name: OptimizerName, trial: Trial): void {
    if (this.#bar !== null) return;
    const { accuracy, steps, batchSize } = trial;
    const outcome = accuracy === null ? "diverged" : `held-out ${percent(accuracy)}`;
    console.log(
      `${name.padEnd(this.#nameWidth)}  search  ${settingText(trial)}  ${steps} steps of ${batchSize}  ${outcome}`,
    );
  }

  /** Ends an optimizer, with the line that says how good it became. */
  end(): void {
    this.stop();
    if (this.#lastEpoch !== null) console.log(finalLine(this.#plan, this.#lastEpoch));
  }

  /** Takes the bar away. */
  stop(): void {
    this.#bar?.stop();
  }

  #addStep({ step, epoch, loss }: StepMetrics): void {
    this.#clock.steps++;
    this.#bar?.update(step, {
      epoch: `${epoch}/${this.#plan.options.epochs}`,
      loss: loss.toFixed(4),
      rate: grouped(this.#samplesPerSecond()),
      left: duration(this.#secondsLeft(step)),
    });
  }

  #addEpoch(metrics: EpochMetrics): void {
    this.#lastEpoch = metrics;
    this.#bar?.update({ accuracy: percent(metrics.testAccuracy) });
    if (this.#bar !== null) return;
    const { epoch, step, trainLoss, trainAccuracy, testAccuracy, samplesPerSecond } = metrics;
    const { epochs } = this.#plan.options;
    console.log(
      [
        metrics.optimizer.padEnd(this.#nameWidth),
        `epoch ${String(epoch).padStart(String(epochs).length)}/${epochs}`,
        `loss ${trainLoss.toFixed(4)}`,
        `accuracy ${percent(trainAccuracy)}`,
        `test ${percent(testAccuracy)}`,
        `${grouped(samplesPerSecond)} samples/s`,
        `${duration(this.#secondsLeft(step))} left`,
      ].join("  "),
    );
  }

  get #totalSteps(): number {
    return this.#plan.options.epochs * this.#plan.stepsPerEpoch;
  }

  #samplesPerSecond(): number {
    const seconds = (performance.now() - this.#clock.started) / 1000;
    return (this.#clock.steps * this.#samples) / this.#plan.stepsPerEpoch / seconds;
  }

  #secondsLeft(step: number): number {
    const perStep = (performance.now() - this.#clock.started) / 1000 / this.#clock.steps;
    return (this.#totalSteps - step) * perStep;
  }
}

/** The last line of an optimizer. */
export function finalLine(plan: Plan, last: EpochMetrics): string {
  const { batchSize } = plan.options;
  return [
    last.optimizer.padEnd(nameWidth(plan)),
    `batch ${grouped(batchSize)}`,
    `${last.epoch} epochs`,
    `${bytes(last.stateBytes)} of state`,
    `test accuracy ${percent(last.testAccuracy)}`,
  ].join("  ");
}

function nameWidth({ options }: Plan): number {
  return Math.max(...options.optimizer.map((name) => name.length));
}
