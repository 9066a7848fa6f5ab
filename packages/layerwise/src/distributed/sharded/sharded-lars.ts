/** LARS whose state is split over the processes of a job. */
import { checkChoice, checkFields, refusal } from "../../check.js";
import { NonFiniteGradientError } from "../../errors.js";
import { createKernel } from "../../kernels/choose.js";
import { checkedKernelOptions } from "../../optimizer/kernel-options.js";
import type { KernelOptions } from "../../optimizer/kernel-options.js";
import { checkedGradScale, LARS, LARS32bit, LARS8bit, nextStepOf } from "../../optimizer/lars.js";
import type { NextStep, StepOptions } from "../../optimizer/lars.js";
import type { ParamGroupOptions } from "../../optimizer/param-group.js";
import type { Parameter } from "../../optimizer/parameter.js";
import type { LoadReport } from "../../optimizer/state-dict.js";
import { FIXED_BITS } from "../../options/fixed-bits.js";
import type { LARSOptions } from "../../options/options.js";
import { emptyMomentum } from "../../state/momentum.js";
import type { StateDict } from "../../state/saved-state.js";
import type { StepReport } from "../../step/report.js";
import { hasGradient } from "../../step/step.js";
import { agreeOnJob, StepAgreement, together } from "../agreement.js";
import type { Fact } from "../agreement.js";
import { BorrowedGradients } from "../borrowed-gradients.js";
import { Fingerprint } from "../checksum.js";
import type { Collective } from "../collective.js";
import { addStep, describeOptimizer, describeProgress } from "../description.js";
import { broadcastWeights } from "../weights.js";
import { ShardedKernel } from "./sharded-kernel.js";

/** How a sharded optimizer runs. */
export interface ShardedOptions extends KernelOptions {
  /** The processes that share the state, all of which make the same calls. */
  collective: Collective;
  /** What a gradient on one process is of: the mean over its part of the batch, or a sum. Default "mean". */
  gradients?: "mean" | "sum";
}

/**
 * LARS whose momentum is split over processes: each keeps 1/N of it, and a chunk of 32,768 elements at most more. Norms
 * are those of whole layers, wherever their parts are, and the weights have the same bits as those of {@link LARS} on
 * the sum of the gradients (in the order of {@link Collective.allReduce}).
 *
 * A step sums the gradients, measures and updates the part that a process owns, and exchanges the sums of squares and
 * the weights. Afterwards gradients hold partial sums: fill them anew. At the start all processes get rank 0's weights.
 * `stateBytes` is this process's share.
 *
 * Source: Rajbhandari et al. 2020 (arXiv 1910.02054), ZeRO stage 1, with LARS' norms taken over whole layers.
 *
 * @example
 * const collective = await Mpi.init();
 * const optimizer = new ShardedLARS(excludeFromAdaptation(parameters), { lr: 1, momentum: 0.9 }, { collective });
 * optimizer.step();
 */
export class ShardedLARS extends LARS {
  readonly collective: Collective;
  readonly #sharded: ShardedKernel;
  readonly #parts: number;
  readonly #agreement: StepAgreement;
  readonly #borrowed: BorrowedGradients;
  readonly #fingerprint = new Fingerprint();
  #gradScale = 1;

  /**
   * Every process calls it, with the same parameters and options.
   *
   * @throws as the constructor of {@link LARS}, on every process, with the ranks; Error if layers, options or versions
   *   differ
   */
  constructor(
    params: readonly Parameter[] | readonly ParamGroupOptions[],
    options: LARSOptions,
    shardedOptions: ShardedOptions,
  ) {
    const { collective, kernel, parts } = prepare(new.target, [params, options], shardedOptions);
    super(params, options, { kernel });
    this.collective = collective;
    this.#sharded = kernel;
    this.#parts = parts;
    this.#agreement = new StepAgreement(collective, () => this.#describeStep());
    this.#borrowed = new BorrowedGradients(collective);
    try {
      this.#place(this.#parameters);
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /**
   * Adds a group. Every process calls it, with the same group; its layers get rank 0's weights.
   *
   * @throws on every process, with the ranks, if one has a wrong group or another one
   */
  override addParamGroup(group: ParamGroupOptions): void {
    const before = this.#parameters.length;
    together(this.collective, () => {
      super.addParamGroup(group);
    });
    this.#place(this.#parameters.slice(before));
  }

  /**
   * Makes one step with the gradients of all processes. Every process calls it. A layer takes part if any process has a
   * gradient for it.
   *
   * @returns the same on every process
   * @throws as {@link LARS.step}, on every process; an error that the others can't know, such as full memory in the
   *   middle of a step, ends the job
   */
  override step(options: StepOptions = {}): StepReport {
    const active = this.#agreeOnStep(options);
    try {
      const gradients = active.map((parameter): [Float32Array, Float32Array] => [
        parameter.data,
        parameter.grad ?? this.#borrowed.lend(parameter),
      ]);
      this.#sharded.reduceGradients(new Map(gradients));
      return super.step({ gradScale: this.#gradScale / this.#parts });
    } catch (error) {
      // All processes have the same sums, so all throw this one.
      if (this.collective.size === 1 || error instanceof NonFiniteGradientError) throw error;
      return this.collective.abort(`the step failed: ${String(error)}`);
    } finally {
      this.#borrowed.takeBack();
    }
  }

  /**
   * A copy of the whole state, on every process. Every process calls it; one saves it. It is that of {@link LARS}: it
   * loads there, and on any number of processes.
   *
   * @throws as {@link LARS.stateDict}, on every process
   */
  override stateDict(): StateDict {
    const { collective } = this;
    const parameters = this.#parameters;
    const state = together(collective, () => super.stateDict());
    const layers = state.layers.map((layer, index) => {
      const { momentum } = layer;
      if (momentum === null) return layer;
      const { data, size } = parameters[index]!;
      const whole = together(collective, () => emptyMomentum(momentum.kind, size));
      this.#sharded.gatherMomentum(momentum, whole, data);
      return { ...layer, momentum: whole };
    });
    return { ...state, layers };
  }

  /**
   * Restores a whole state, of which each process keeps its part. Every process calls it, with the same state.
   *
   * @throws as {@link LARS.loadStateDict}, on every process, with the ranks
   */
  override loadStateDict(saved: StateDict): LoadReport {
    return together(this.collective, () => super.loadStateDict(saved));
  }

  /** The layers that have a gradient on any process. */
  #agreeOnStep(options: StepOptions): Parameter[] {
    let next: NextStep | undefined;
    let gradients: boolean[] = [];
    let error: unknown;
    try {
      this.#gradScale = checkedGradScale(options);
      next = nextStepOf(this);
      addStep(this.#fingerprint, next);
      this.#fingerprint.add(this.#gradScale);
      gradients = next.groups.flatMap(({ layers }) => layers.map(hasGradient));
    } catch (thrown) {
      error = thrown;
    }
    const fingerprint = this.#fingerprint.finish();
    const active = this.#agreement.agree({ gradients, fingerprint, error });
    return this.#parameters.filter((_, index) => active[index]);
  }

  /** Compares layers and options over the processes, then deals new layers out. */
  #place(parameters: readonly Parameter[]): void {
    agreeOnJob(this.collective, () => [
      { of: "sharded optimizer", what: "gradients", value: this.#parts === 1 ? "sum" : "mean" },
      ...describeOptimizer(this),
    ]);
    this.#sharded.place(parameters.map(({ data }) => data));
    broadcastWeights(this.collective, parameters);
  }

  #describeStep(): Fact[] {
    return [
      ...describeOptimizer(this),
      ...describeProgress(this),
      { of: "step", what: "gradScale", value: String(this.#gradScale) },
    ];
  }

  /** All layers, in the order of the groups. */
  get #parameters(): Parameter[] {
    return this.paramGroups.flatMap(({ params }) => params);
  }
}

/** {@link ShardedLARS} with 8-bit momentum: 1.0157 bytes of state per parameter, over all processes. */
export class ShardedLARS8bit extends ShardedLARS {
  protected static override readonly fixedBits = FIXED_BITS.LARS8bit;
}

/** {@link ShardedLARS} with 32-bit momentum: 4 bytes of state per parameter, over all processes. */
export class ShardedLARS32bit extends ShardedLARS {
  protected static override readonly fixedBits = FIXED_BITS.LARS32bit;
}

type Given = [params: readonly Parameter[] | readonly ParamGroupOptions[], options: LARSOptions];

/** Checks everything that the constructor of LARS would, on all processes: none may be left alone with an error. */
function prepare(
  target: typeof ShardedLARS,
  [params, options]: Given,
  given: ShardedOptions,
): { collective: Collective; kernel: ShardedKernel; parts: number } {
  checkFields("ShardedLARS: options", given, ["collective", "gradients", "kernel", "threads"]);
  const { collective, gradients = "mean", ...kernelOptions } = given;
  if (typeof (collective as Partial<Collective> | undefined)?.allReduce !== "function") {
    throw new TypeError(
      refusal("ShardedLARS: collective", collective, "a collective: await Mpi.init()"),
    );
  }
  const kernel = together(collective, () => {
    checkChoice("ShardedLARS: gradients", gradients, ["mean", "sum"]);
    new (plainClass(target))(params, options, { kernel: "reference" }).dispose();
    const { kernel: own, threads } = checkedKernelOptions(kernelOptions);
    return createKernel(own, threads);
  });
  const parts = gradients === "mean" ? collective.size : 1;
  return { collective, kernel: new ShardedKernel(kernel, collective), parts };
}

function plainClass(target: typeof ShardedLARS): typeof LARS {
  if (target === ShardedLARS8bit) return LARS8bit;
  return target === ShardedLARS32bit ? LARS32bit : LARS;
}
