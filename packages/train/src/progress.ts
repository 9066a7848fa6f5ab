/** The progress of a run: a bar on a terminal, a line per epoch elsewhere. */
import { SingleBar } from "cli-progress";
import { settingText } from "./describe.js";
import type { EpochMetrics, Metrics, StepMetrics } from "./metrics.js";
import type { OptimizerName } from "./optimizers/names.js";
import type { Plan } from "./plan.js";
import type { Trial } from "./search/rate-search.js";
import { bytes, duration, grouped, percent } from "./text.js";

/** What the bar shows of its line, beside how much is done. */
interface BarText {
  readonly name: string;
  /** Versions of the rest, widest first; the first that fits is shown. */
  readonly fields: readonly string[];
}

const WIDEST_BAR = 20;
const NARROWEST_BAR = 5;

export class ProgressLog {
  readonly #plan: Plan;
  readonly #samples: number;
  /** null where there is no terminal. */
  readonly #bar: SingleBar | null;
  readonly #nameWidth: number;
  #lastEpoch: EpochMetrics | null = null;
  /** Since the optimizer began in this process. */
  #clock = { started: 0, steps: 0 };
  readonly #onExit = (): void => {
    this.stop();
  };

  /** @param samples of the training set */
  constructor(plan: Plan, samples: number) {
    this.#plan = plan;
    this.#samples = samples;
    this.#nameWidth = nameWidth(plan);
    this.#bar = process.stdout.isTTY ? createBar() : null;
  }

  /** @param step where the optimizer continues, 0 for a new one */
  begin(name: OptimizerName, step: number): void {
    this.#lastEpoch = null;
    this.#clock = { started: performance.now(), steps: 0 };
    this.#showBar(step, { name, fields: [`epoch 0/${this.#plan.options.epochs}`] });
  }

  add(metrics: Metrics): void {
    if (metrics.kind === "step") this.#addStep(metrics);
    if (metrics.kind === "epoch") this.#addEpoch(metrics);
  }

  /** A trial of the rate search; on a terminal a line that the next one replaces. */
  addTrial(name: OptimizerName, trial: Trial): void {
    const { accuracy, steps, batchSize } = trial;
    const outcome = accuracy === null ? "diverged" : `held-out ${percent(accuracy)}`;
    const fields = ["search", settingText(trial), `${steps} × ${batchSize} samples`, outcome];
    if (this.#bar === null) console.log([name.padEnd(this.#nameWidth), ...fields].join("  "));
    else this.#showBar(null, { name, fields: [fields.join("  "), outcome] });
  }

  /** Ends an optimizer with its result line. */
  end(): void {
    this.stop();
    if (this.#lastEpoch !== null) console.log(finalLine(this.#plan, this.#lastEpoch));
  }

  /** Removes the bar and restores the terminal. */
  stop(): void {
    this.#bar?.stop();
    process.removeListener("exit", this.#onExit);
  }

  /** @param step null where it is not known how much is left */
  #showBar(step: number | null, text: BarText): void {
    if (this.#bar === null) return;
    this.stop();
    // The bar hides the cursor and turns line wrapping off; restore both however the process ends.
    process.once("exit", this.#onExit);
    this.#bar.start(step === null ? 0 : this.#totalSteps, step ?? 0, text);
  }

  #addStep({ optimizer, step, epoch, loss }: StepMetrics): void {
    this.#clock.steps++;
    this.#bar?.update(step, this.#barText(optimizer, { step, epoch, loss }));
  }

  #barText(
    name: OptimizerName,
    { step, epoch, loss }: Pick<StepMetrics, "step" | "epoch" | "loss">,
  ): BarText {
    const epochs = `epoch ${epoch}/${this.#plan.options.epochs}`;
    const lossText = `loss ${loss.toFixed(4)}`;
    const rate = `${grouped(this.#samplesPerSecond())} samples/s`;
    const left = `${duration(this.#secondsLeft(step))} left`;
    const wide = [epochs, lossText, rate, left];
    return {
      name,
      fields: [wide, [epochs, lossText, left], [epochs, left]].map((fields) => fields.join("  ")),
    };
  }

  /** A line for each epoch; on a terminal above the bar. */
  #addEpoch(metrics: EpochMetrics): void {
    this.#lastEpoch = metrics;
    const { optimizer, epoch, step, trainLoss, trainAccuracy, testAccuracy } = metrics;
    const { epochs } = this.#plan.options;
    this.#bar?.stop();
    console.log(
      [
        optimizer.padEnd(this.#nameWidth),
        `epoch ${String(epoch).padStart(String(epochs).length)}/${epochs}`,
        `loss ${trainLoss.toFixed(4)}`,
        `accuracy ${percent(trainAccuracy)}`,
        `${scoredPart(this.#plan)} ${percent(testAccuracy)}`,
        `${grouped(metrics.samplesPerSecond)} samples/s`,
        `${duration(this.#secondsLeft(step))} left`,
      ].join("  "),
    );
    this.#showBar(step, this.#barText(optimizer, { step, epoch, loss: trainLoss }));
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

function createBar(): SingleBar {
  return new SingleBar({
    format: (_, { progress, total, maxWidth }, text: BarText) =>
      barLine(text, total === 0 ? null : progress, maxWidth),
    stream: process.stdout,
    hideCursor: true,
    clearOnComplete: true,
  });
}

/** sgd |=====-----| epoch 3/10  loss 0.1234  44,000 samples/s  0:12 left, as wide as the terminal at most. */
function barLine({ name, fields }: BarText, progress: number | null, width: number): string {
  if (progress === null) {
    const fitting = fields.find((text) => name.length + 2 + text.length <= width);
    return `${name}  ${fitting ?? ""}`.slice(0, width);
  }
  // The name, then " |", the bar and "| ".
  const around = name.length + 4;
  const text = fields.find((candidate) => around + NARROWEST_BAR + candidate.length <= width) ?? "";
  const barWidth = Math.max(NARROWEST_BAR, Math.min(WIDEST_BAR, width - around - text.length));
  const filled = Math.round(progress * barWidth);
  const bar = "=".repeat(filled) + "-".repeat(barWidth - filled);
  return `${name} |${bar}| ${text}`.slice(0, width);
}

/** The last line of an optimizer. */
export function finalLine(plan: Plan, last: EpochMetrics): string {
  const { batchSize } = plan.options;
  return [
    last.optimizer.padEnd(nameWidth(plan)),
    `batch ${grouped(batchSize)}`,
    `${last.epoch} epochs`,
    `${bytes(last.stateBytes)} of state`,
    `${scoredPart(plan)} accuracy ${percent(last.testAccuracy)}`,
  ].join("  ");
}

/** What accuracies are of. */
function scoredPart({ options }: Plan): string {
  return options.holdOut ? "held-out" : "test";
}

function nameWidth({ options }: Plan): number {
  return Math.max(...options.optimizer.map((name) => name.length));
}
