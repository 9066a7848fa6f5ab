/** Data-parallel training: each process has its part of the batch, and all have the same weights. */
import { checkChoice, checkFields, checkInteger, refusal, shown } from "../check.js";
import { NonFiniteGradientError } from "../errors.js";
import { checkedGradScale, LARS, nextStepOf } from "../optimizer/lars.js";
import type { NextStep, StepOptions } from "../optimizer/lars.js";
import type { Parameter } from "../optimizer/parameter.js";
import type { Layer } from "../step/layer.js";
import type { StepReport } from "../step/report.js";
import { agreeOnJob, StepAgreement } from "./agreement.js";
import type { Fact } from "./agreement.js";
import { Buckets } from "./buckets.js";
import { Fingerprint } from "./checksum.js";
import type { Collective } from "./collective.js";
import { addStep, describeOptimizer, describeProgress } from "./description.js";
import { ShardedLARS } from "./sharded/sharded-lars.js";
import { broadcastState, broadcastWeights, expectSameWeights } from "./weights.js";

/** Options of {@link DataParallel}. */
export interface DataParallelOptions {
  /**
   * What becomes of the processes' gradients: "mean" for gradients that are each the mean over a process's part of the
   * batch, with parts of one size; "sum" for gradients that are each its share of the whole batch's. Default "mean".
   */
  gradients?: "mean" | "sum";
  /** Compares all weights after every so many steps, by a checksum; 0: never. Default 100. */
  checkEvery?: number;
  /** A bucket takes layers until their gradients have this many bytes. Default 25 MiB, as in PyTorch. */
  bucketBytes?: number;
}

/**
 * Trains one model on all processes of a job. Every process computes gradients of its part of the batch; a step sums
 * them up and is the same everywhere.
 *
 * At the start all processes get rank 0's weights and state, so a checkpoint may be loaded on all of them or on rank 0
 * alone. Then layers, options, rates and counts must stay alike: what differs is refused on every process, by name,
 * before anything is written. With a power of two of processes sums are added in the order of a balanced binary
 * tree, so weights do not depend on which library carries the messages. With other numbers they are equal to rounding,
 * and alike on all processes.
 *
 * Source: Li et al. 2020 (arXiv 2006.15704), PyTorch's DistributedDataParallel.
 *
 * @example
 * const collective = await Mpi.init();
 * const optimizer = new LARS(params, { lr: 1, momentum: 0.9 });
 * const parallel = new DataParallel(optimizer, collective);
 * for (const batch of partOf(data, collective.rank, collective.size)) {
 *   for (const parameter of backward(batch)) parallel.gradientReady(parameter); // optional
 *   parallel.step();
 * }
 * collective.finalize();
 */
export class DataParallel {
  readonly optimizer: LARS;
  readonly collective: Collective;
  readonly #options: Required<DataParallelOptions>;
  readonly #agreement: StepAgreement;
  readonly #buckets: Buckets;
  readonly #fingerprint = new Fingerprint();
  #gradScale = 1;
  /** Calls of step(), skipped steps included. */
  #calls = 0;
  /** Steps that the optimizer has made. */
  #step = 0;

  /**
   * Every process makes the same call.
   *
   * @throws on every process, with the same message, if one has a wrong option, or other layers, options, rates or
   *   another version than rank 0
   */
  constructor(optimizer: LARS, collective: Collective, options: DataParallelOptions = {}) {
    this.optimizer = optimizer;
    this.collective = collective;
    let checked: CheckedOptions | undefined;
    agreeOnJob(collective, () => {
      checkOptimizer(optimizer);
      checked = checkedOptions(options);
      return describeOptions(checked);
    });
    this.#options = checked!;
    this.#agreement = new StepAgreement(collective, () => this.#describeStep());
    const members = { collective, agreement: this.#agreement };
    this.#buckets = new Buckets(members, this.#options.bucketBytes);
    this.synchronize();
  }

  /**
   * Gives all processes rank 0's weights and state. The constructor does so too; call it on every process after a
   * later load on rank 0.
   *
   * @throws as the constructor
   */
  synchronize(): void {
    agreeOnJob(this.collective, () => describeOptimizer(this.optimizer));
    this.#buckets.add(this.#addedLayers(nextStepOf(this.optimizer)));
    broadcastWeights(this.collective, this.#buckets.parameters);
    broadcastState(this.collective, this.optimizer);
    this.#step = nextStepOf(this.optimizer).step;
  }

  /**
   * Says that a parameter's gradient is complete for this step. Sums that can be made are made at once, while the
   * backward pass has yet to come to the other layers. Calls are optional: step() sums what is left. Sums go
   * from the last layer to the first, so a layer that has no gradient in a step holds up those before it unless it is
   * announced too.
   *
   * @throws TypeError for a parameter of another optimizer; Error for a second gradient in one step; on every process
   *   if a gradient of one does not fit its layer
   */
  gradientReady(parameter: Parameter): void {
    if (this.#buckets.has(parameter)) this.#buckets.ready(parameter);
    else if (!this.optimizer.paramGroups.some(({ params }) => params.includes(parameter))) {
      throw new TypeError(
        "gradientReady: expected a parameter of the optimizer, got one of none of its groups",
      );
    }
  }

  /**
   * Makes one step with the gradients of all processes. Afterwards a gradient holds the sum over the processes: fill
   * it anew. A layer takes part if any process has a gradient for it.
   *
   * @returns the same on every process
   * @throws NonFiniteGradientError on every process if one has a NaN and nonFinite is "throw"; on every process, with
   *   the same message, if one can't make the step, or has other options; Error on every process if the weights
   *   no longer have the same bits. An error that can't be shared, such as full memory in the
   *   middle of a step, ends the job
   */
  step(options: StepOptions = {}): StepReport {
    let report: StepReport;
    try {
      const next = this.#agreeOnStep(options);
      this.#includeAdded(next);
      report = this.#stepAlike();
    } finally {
      this.#buckets.endRound();
    }
    this.#step = report.step;
    this.#calls++;
    const { checkEvery } = this.#options;
    if (checkEvery > 0 && this.#calls % checkEvery === 0) this.check();
    return report;
  }

  /** Fills every gradient with 0, and forgets which of them were announced. Gradients that are null stay null. */
  zeroGrad(): void {
    this.#buckets.endRound();
    this.optimizer.zeroGrad();
  }

  /**
   * Compares the weights of all processes. step() does so every `checkEvery` steps. Groups that no step has included
   * yet are left out.
   *
   * @throws Error on every process, which names the ranks, if bits differ
   */
  check(): void {
    expectSameWeights(this.collective, this.#buckets.parameters, this.#step);
  }

  /** Sums the gradients, then compares what else makes the step. */
  #agreeOnStep(options: StepOptions): NextStep {
    let next: NextStep | undefined;
    let error: unknown;
    try {
      this.#gradScale = checkedGradScale(options);
      next = nextStepOf(this.optimizer);
      addStep(this.#fingerprint, next);
      this.#fingerprint.add(this.#gradScale);
    } catch (thrown) {
      error = thrown;
    }
    const fingerprint = this.#fingerprint.finish();
    this.#buckets.sumRest();
    this.#agreement.agree({ gradients: [], fingerprint, error });
    return next!;
  }

  /** Groups that were added since the last step, on every process: their fingerprints would differ otherwise. */
  #includeAdded(next: NextStep): void {
    const added = this.#addedLayers(next);
    if (added.length === 0) return;
    agreeOnJob(this.collective, () => this.#describeStep());
    broadcastWeights(
      this.collective,
      added.map(({ parameter }) => parameter),
    );
    this.#buckets.add(added);
    this.#buckets.sumRest();
  }

  /** The step itself, which is the same computation on every process. */
  #stepAlike(): StepReport {
    const { size } = this.collective;
    const parts = this.#options.gradients === "mean" ? size : 1;
    try {
      return this.optimizer.step({ gradScale: this.#gradScale / parts });
    } catch (error) {
      // All processes have the same gradients, so all throw this one.
      if (size === 1 || error instanceof NonFiniteGradientError) throw error;
      return this.collective.abort(`the step failed: ${String(error)}`);
    }
  }

  /** All that processes must have alike in a step. */
  #describeStep(): Fact[] {
    return [
      ...describeOptimizer(this.optimizer),
      ...describeProgress(this.optimizer),
      { of: "step", what: "gradScale", value: String(this.#gradScale) },
    ];
  }

  /** Layers that are in no bucket yet. */
  #addedLayers({ groups }: NextStep): Layer<Parameter>[] {
    const count = groups.reduce((sum, { layers }) => sum + layers.length, 0);
    if (count === this.#buckets.size) return [];
    return groups
      .flatMap(({ layers }) => layers)
      .filter(({ parameter }) => !this.#buckets.has(parameter));
  }
}

function describeOptions(options: CheckedOptions): Fact[] {
  return Object.entries(options).map(([what, value]) => ({
    of: "DataParallel",
    what,
    value: shown(value),
  }));
}

type CheckedOptions = Required<DataParallelOptions>;

function checkedOptions(given: DataParallelOptions): CheckedOptions {
  checkFields("DataParallel: options", given, ["gradients", "checkEvery", "bucketBytes"]);
  const { gradients = "mean", checkEvery = 100, bucketBytes = 25 * 2 ** 20 } = given;
  return {
    gradients: checkChoice("DataParallel: gradients", gradients, ["mean", "sum"]),
    checkEvery: checkInteger("DataParallel: checkEvery", checkEvery, 0),
    bucketBytes: checkInteger("DataParallel: bucketBytes", bucketBytes, 1),
  };
}

function checkOptimizer(optimizer: unknown): void {
  // It exchanges gradients itself: they would be summed twice.
  const isSharded = optimizer instanceof ShardedLARS;
  if (optimizer instanceof LARS && !isSharded) return;
  throw new TypeError(
    refusal(
      "DataParallel: optimizer",
      isSharded ? (optimizer as LARS).constructor.name : optimizer,
      "a LARS, LARS8bit or LARS32bit",
    ),
  );
}
