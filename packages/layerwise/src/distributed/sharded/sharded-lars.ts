/** LARS whose state is split over the processes of a job. */
import { checkChoice, checkFields, checkInteger, refusal, shown } from "../../check.js";
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
import { checkedState } from "../../state/saved-state.js";
import type { StateDict } from "../../state/saved-state.js";
import type { StepReport } from "../../step/report.js";
import { hasGradient } from "../../step/step.js";
import { agreeOnJob, StepAgreement, together } from "../agreement.js";
import type { Fact } from "../agreement.js";
import { BorrowedGradients } from "../borrowed-gradients.js";
import { checksumOf, Fingerprint } from "../checksum.js";
import type { Collective } from "../collective.js";
import { describeState, describeWeights } from "../describe-arrays.js";
import { addStep, describeOptimizer, describeProgress } from "../description.js";
import { broadcastWeights } from "../weights.js";
import { ShardedKernel } from "./sharded-kernel.js";

/** How a sharded optimizer runs. */
export interface ShardedOptions extends KernelOptions {
  /** The processes that share the state, all of which make the same calls. */
  collective: Collective;
  /**
   * What becomes of the processes' gradients: "mean" for gradients that are each the mean over a process's part of the
   * batch, with parts of one size; "sum" for gradients that are each its share of the whole batch's. Default "mean".
   */
  gradients?: "mean" | "sum";
  /**
   * Compares all weights before the first step, before the first after {@link ShardedLARS.loadStateDict}, and then before
   * every so many, by a checksum; 0: never. Default 100.
   */
  checkEvery?: number;
}

/** What all processes must have alike. */
type Settings = Required<Pick<ShardedOptions, "gradients" | "checkEvery">>;

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
  readonly #options: LARSOptions;
  readonly #settings: Settings;
  readonly #agreement: StepAgreement;
  readonly #borrowed: BorrowedGradients;
  readonly #fingerprint = new Fingerprint();
  #gradScale = 1;
  /** Calls of step() since the weights were last compared; 0: they are compared now. */
  #unchecked = 0;

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
    const prepared = prepare(new.target, [params, options], shardedOptions);
    const { collective, kernel } = prepared;
    super(prepared.groups, options, { kernel });
    this.collective = collective;
    this.#sharded = kernel;
    this.#options = { ...options };
    this.#settings = prepared.settings;
    this.#agreement = new StepAgreement(collective, () => this.#describeStep());
    this.#borrowed = new BorrowedGradients(collective);
    try {
      agreeOnJob(collective, () => this.#describe());
      this.#place(this.#parameters);
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /**
   * Adds a group. Every process calls it, with the same group; its layers get rank 0's weights.
   *
   * @throws on every process, with the ranks, if one has a wrong group or another one; then none has added it
   */
  override addParamGroup(group: ParamGroupOptions): void {
    let added: ParamGroupOptions | undefined;
    agreeOnJob(this.collective, () => {
      const present = this.paramGroups.map(({ params }) => ({ params }));
      const trial = tryOut(this.constructor, [[...present, group], this.#options]);
      added = groupsOf(trial).at(-1);
      return describeOptimizer(trial);
    });
    together(this.collective, () => {
      super.addParamGroup(added!);
    });
    this.#place(this.paramGroups.at(-1)!.params);
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
    this.#unchecked++;
    try {
      const gradients = active.map((parameter): [Float32Array, Float32Array] => [
        parameter.data,
        parameter.grad ?? this.#borrowed.lend(parameter),
      ]);
      this.#sharded.reduceGradients(new Map(gradients));
      const parts = this.#settings.gradients === "mean" ? this.collective.size : 1;
      return super.step({ gradScale: this.#gradScale / parts });
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
      const { size } = parameters[index]!;
      const whole = together(collective, () => emptyMomentum(momentum.kind, size));
      this.#sharded.gatherMomentum(index, momentum, whole);
      return { ...layer, momentum: whole };
    });
    return { ...state, layers };
  }

  /**
   * Restores a whole state, of which each process keeps its part. Every process calls it, with the same state, which is
   * compared by a checksum. Load the weights on every process too: the next step compares them.
   *
   * @throws as {@link LARS.loadStateDict}, on every process, with the ranks; Error if they have different states. Then
   *   nothing was loaded. Memory that is full on some processes only ends the job
   */
  override loadStateDict(saved: StateDict): LoadReport {
    if (this.collective.size > 1) {
      agreeOnJob(this.collective, () => [
        ...describeOptimizer(this),
        ...describeState(checkedState(saved)),
      ]);
    }
    this.#unchecked = 0;
    let report: LoadReport | undefined;
    try {
      return together(this.collective, () => (report = super.loadStateDict(saved)));
    } catch (error) {
      // This process has loaded what another could not: there is no way back.
      if (report !== undefined) this.collective.abort(`loading a state failed: ${String(error)}`);
      throw error;
    }
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
      // Afterwards all have the same, whoever was wrong: a step gives each part from one process to all.
      if (this.#comparesWeights) {
        this.#fingerprint.add(checksumOf(this.#parameters.map(({ data }) => data)));
      }
    } catch (thrown) {
      error = thrown;
    }
    const fingerprint = this.#fingerprint.finish();
    const active = this.#agreement.agree({ gradients, fingerprint, error });
    return this.#parameters.filter((_, index) => active[index]);
  }

  /** Whether the next step compares the weights of all processes. */
  get #comparesWeights(): boolean {
    const { checkEvery } = this.#settings;
    return this.collective.size > 1 && checkEvery > 0 && this.#unchecked % checkEvery === 0;
  }

  /** Deals new layers out. */
  #place(parameters: readonly Parameter[]): void {
    broadcastWeights(this.collective, parameters);
    this.#sharded.place(parameters.map(({ data }) => data));
  }

  #describe(): Fact[] {
    const settings = Object.entries(this.#settings).map(([what, value]) => ({
      ...{ of: "ShardedLARS", what, value: shown(value) },
    }));
    return [...settings, ...describeOptimizer(this)];
  }

  #describeStep(): Fact[] {
    return [
      ...this.#describe(),
      ...describeProgress(this),
      { of: "step", what: "gradScale", value: String(this.#gradScale) },
      ...(this.#comparesWeights ? describeWeights(this.#parameters) : []),
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

interface Prepared {
  readonly collective: Collective;
  readonly kernel: ShardedKernel;
  readonly groups: readonly ParamGroupOptions[];
  readonly settings: Settings;
}

const NAMES = ["collective", "gradients", "checkEvery", "kernel", "threads"];

/** Checks everything that the constructor of LARS would, on all processes: none may be left alone with an error. */
function prepare(target: unknown, params: Given, given: ShardedOptions): Prepared {
  const { collective } = (given as Partial<ShardedOptions> | undefined) ?? {};
  if (typeof (collective as Partial<Collective> | undefined)?.allReduce !== "function") {
    throw new TypeError(
      refusal("ShardedLARS: collective", collective, "a collective: await Mpi.init()"),
    );
  }
  const checked = together(collective!, () => {
    checkFields("ShardedLARS: options", given, NAMES);
    const { gradients = "mean", checkEvery = 100, kernel: asked, threads: most } = given;
    const settings = {
      gradients: checkChoice("ShardedLARS: gradients", gradients, ["mean", "sum"]),
      checkEvery: checkInteger("ShardedLARS: checkEvery", checkEvery, 0),
    };
    const groups = groupsOf(tryOut(target, params));
    const { kernel, threads } = checkedKernelOptions({ kernel: asked, threads: most });
    return { settings, groups, kernel: createKernel(kernel, threads) };
  });
  const kernel = new ShardedKernel(checked.kernel, collective!);
  return { ...checked, collective: collective!, kernel };
}

/**
 * The optimizer that is not sharded, to find what is wrong with arguments before any process goes on with them. It has
 * no state and no threads, so nobody need dispose of it.
 *
 * @throws as its constructor; TypeError for layers over one array, by which kernels know them
 */
function tryOut(target: unknown, [params, options]: Given): LARS {
  const trial = new (plainClass(target as typeof ShardedLARS))(params, options, {
    kernel: "reference",
  });
  const byArray = new Map<Float32Array, Parameter>();
  for (const parameter of trial.paramGroups.flatMap((group) => group.params)) {
    const other = byArray.get(parameter.data);
    if (other !== undefined) {
      throw new TypeError(
        `params: expected an array of its own for each layer, got one for ${shown(other.name)} and ${shown(parameter.name)}`,
      );
    }
    byArray.set(parameter.data, parameter);
  }
  return trial;
}

/** Groups with all their options, as plain objects: what the user gave may be a list that can be read only once. */
function groupsOf({ paramGroups }: LARS): ParamGroupOptions[] {
  return paramGroups.map((group) => Object.assign({}, group));
}

function plainClass(target: typeof ShardedLARS): typeof LARS {
  const isOf = (base: typeof ShardedLARS): boolean =>
    target === base || target.prototype instanceof base;
  if (isOf(ShardedLARS8bit)) return LARS8bit;
  return isOf(ShardedLARS32bit) ? LARS32bit : LARS;
}
