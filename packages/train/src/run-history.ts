/**
 * What a run has done so far, in bounded memory: it is fed with every line of metrics.jsonl and keeps what
 * the report and the log show.
 */
import { createHash } from "node:crypto";
import type { EpochMetrics, FailureMetrics, Metrics, StepMetrics } from "./metrics.js";
import type { OptimizerName } from "./optimizers/names.js";

/** A chart 600 pixels wide shows little more; the report stays small. */
const MAX_POINTS = 500;

/**
 * A series of which every value is kept, then every second, every fourth, …: always between 500 and
 * 1,000 of them once there are that many. The same values give the same series, after a resume too.
 */
export class Thinned<Value> {
  #kept: Value[] = [];
  #stride = 1;
  #count = 0;
  #last: Value | null = null;

  add(value: Value): void {
    if (this.#count % this.#stride === 0) this.#kept.push(value);
    this.#count++;
    this.#last = value;
    if (this.#kept.length < 2 * MAX_POINTS) return;
    this.#kept = this.#kept.filter((_, index) => index % 2 === 0);
    this.#stride *= 2;
  }

  /** How many values were added. */
  get count(): number {
    return this.#count;
  }

  get last(): Value | null {
    return this.#last;
  }

  /** The values that are kept, with the last one. */
  get values(): readonly Value[] {
    const endsWithLast = (this.#count - 1) % this.#stride === 0;
    return this.#last === null || endsWithLast ? this.#kept : [...this.#kept, this.#last];
  }
}

/** What one optimizer has done so far. */
export class OptimizerHistory {
  readonly name: OptimizerName;
  /** Only the last has its confusion. */
  readonly epochs = new Thinned<EpochMetrics>();
  readonly steps = new Thinned<StepMetrics>();
  readonly #digest = createHash("sha256");
  readonly #layers: ReadonlySet<string> | null;
  #lastEpoch: EpochMetrics | null = null;
  #failure: FailureMetrics | null = null;
  #seconds = 0;

  constructor(name: OptimizerName, layers: ReadonlySet<string> | null) {
    this.name = name;
    this.#layers = layers;
  }

  add(line: Metrics): void {
    if (line.kind === "failed") this.#failure = line;
    else if (line.kind === "epoch") this.#addEpoch(line);
    else this.#addStep(line);
  }

  /** The newest epoch, with its confusion. */
  get lastEpoch(): EpochMetrics | null {
    return this.#lastEpoch;
  }

  /** Why training ended, if it failed. */
  get failure(): FailureMetrics | null {
    return this.#failure;
  }

  /** Training time of all epochs, without tests. */
  get seconds(): number {
    return this.#seconds;
  }

  /** Tells apart what optimizers did: equal when every step had the same rate, loss and norms. */
  get digest(): string {
    return this.#digest.copy().digest("hex");
  }

  #addEpoch(line: EpochMetrics): void {
    const withoutConfusion = { ...line };
    delete withoutConfusion.confusion;
    this.epochs.add(withoutConfusion);
    this.#lastEpoch = line;
    this.#seconds += line.seconds;
  }

  #addStep(line: StepMetrics): void {
    const { step, lr, loss, gradNorm, layers } = line;
    this.#digest.update(JSON.stringify([step, lr, loss, gradNorm, layers]));
    const noise = line.noise ?? null;
    this.steps.add({
      ...line,
      layers: this.#shown(layers),
      noise: noise === null ? null : { ...noise, layers: this.#shown(noise.layers) },
    });
  }

  #shown<Layer extends { name: string }>(layers: readonly Layer[]): Layer[] {
    return layers.filter(({ name }) => this.#layers?.has(name) ?? true);
  }
}

export class RunHistory {
  readonly #optimizers = new Map<OptimizerName, OptimizerHistory>();
  readonly #layers: ReadonlySet<string> | null;

  /** @param layers whose norms are kept; without it, those of all */
  constructor(layers: readonly string[] | null = null) {
    this.#layers = layers === null ? null : new Set(layers);
  }

  add(line: Metrics): void {
    this.of(line.optimizer).add(line);
  }

  /** The history of an optimizer, an empty one before its first step. */
  of(name: OptimizerName): OptimizerHistory {
    const known = this.#optimizers.get(name);
    if (known !== undefined) return known;
    const created = new OptimizerHistory(name, this.#layers);
    this.#optimizers.set(name, created);
    return created;
  }

  /** Optimizers that failed, in the order in which they did. */
  get failures(): FailureMetrics[] {
    return [...this.#optimizers.values()].flatMap(({ failure }) =>
      failure === null ? [] : [failure],
    );
  }
}

/**
 * Feeds a history with metrics that are read one at a time.
 *
 * @param layers whose norms are kept; without it, those of all
 */
export function historyOf(
  metrics: Iterable<Metrics>,
  layers: readonly string[] | null = null,
): RunHistory {
  const history = new RunHistory(layers);
  for (const line of metrics) history.add(line);
  return history;
}
