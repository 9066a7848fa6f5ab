/** LARS, LARS8bit, LARS32bit: the optimizers, which keep groups, layers and counts. step/ makes the steps. */
import { checkNames, checkObject, checkPositive, shown } from "../check.js";
import { createKernel } from "../kernels/choose.js";
import type { Kernel } from "../kernels/kernel.js";
import { checkBitsOfGroup, FIXED_BITS, withFixedBits } from "../options/fixed-bits.js";
import type { BitsOfClass } from "../options/fixed-bits.js";
import { rateAt } from "../options/learning-rate.js";
import { resolveOptions } from "../options/options.js";
import type { Hyperparameters, LARSOptions } from "../options/options.js";
import type { StateDict } from "../state/saved-state.js";
import { Layer } from "../step/layer.js";
import type { StepReport } from "../step/report.js";
import { runStep, setMomentum } from "../step/step.js";
import type { GroupStep } from "../step/step.js";
import { checkedKernelOptions } from "./kernel-options.js";
import type { KernelOptions } from "./kernel-options.js";
import { createParamGroup, createParamGroups } from "./param-group.js";
import type { ParamGroup, ParamGroupOptions } from "./param-group.js";
import type { Parameter } from "./parameter.js";
import { readState, restoreState } from "./state-dict.js";
import type { LayerGroup, LoadReport } from "./state-dict.js";

/** The next step of an optimizer, as far as it is known before its gradients. */
export interface NextStep {
  /** Steps made so far. */
  readonly step: number;
  /** The groups with their options and rates, checked. */
  readonly groups: readonly (GroupStep & { readonly layers: readonly Layer<Parameter>[] })[];
}

/**
 * The next step of an optimizer, for those who make steps together with other processes.
 *
 * @throws TypeError or RangeError for a wrong live option, or a wrong rate from a schedule; Error after dispose()
 */
export let nextStepOf: (optimizer: LARS) => NextStep;

/** Options of one step. */
export interface StepOptions {
  /** Multiplies every gradient, > 0: 1/lossScale, or 1/parts for summed gradients. Default 1. */
  gradScale?: number;
}

/** @throws TypeError or RangeError that names the option */
export function checkedGradScale(options: StepOptions): number {
  checkNames("step options", checkObject("step options", options), ["gradScale"]);
  return checkPositive("gradScale", options.gradScale ?? 1);
}

/**
 * LARS: layer-wise adaptive rate scaling. SGD with momentum in which a trust ratio, between the norm of a
 * layer's weights and that of its update or gradient, scales the layer's step.
 *
 * Source: You, Gitman, Ginsburg 2017 (arXiv 1708.03888); options and defaults: bitsandbytes
 * `optim/lars.py`.
 *
 * @example
 * const weights = Parameter.allocate([784, 10], { name: "weights" });
 * const optimizer = new LARS([weights], { lr: 1, momentum: 0.9 });
 * weights.grad.set(gradient);
 * optimizer.step();
 */
export class LARS {
  static {
    nextStepOf = (optimizer) => optimizer.#nextStep();
  }

  /** The bits that a subclass allows, or null for both. */
  protected static readonly fixedBits: 8 | 32 | null = FIXED_BITS.LARS;

  /** Live groups. Changes apply from the next step. */
  readonly paramGroups: readonly ParamGroup[];
  readonly #groups: ParamGroup[] = [];
  readonly #owned: LayerGroup[] = [];
  readonly #defaults: Hyperparameters;
  readonly #kernel: Kernel;
  #stepCount = 0;
  #disposed = false;

  /**
   * @param params parameters, or groups of them with options of their own
   * @param options see {@link LARSOptions}; `lr` is required
   * @param kernelOptions how steps are run
   * @throws TypeError or RangeError that names the option, what was expected, and the value; TypeError for
   *   an empty list or a parameter given twice
   */
  constructor(
    params: readonly Parameter[] | readonly ParamGroupOptions[],
    options: LARSOptions,
    kernelOptions: KernelOptions = {},
  ) {
    const { kernel, threads } = checkedKernelOptions(kernelOptions);
    this.#defaults = resolveOptions("options", withFixedBits(options, this.#bits));
    this.paramGroups = this.#groups;
    for (const group of createParamGroups(params, this.#defaults)) this.#addGroup(group);
    // Last, when nothing can throw any more: it may start threads.
    this.#kernel = createKernel(kernel, threads);
  }

  /**
   * Adds a group. Options that it does not set come from the constructor's options.
   *
   * @throws as the constructor does; the optimizer is then unchanged
   */
  addParamGroup(group: ParamGroupOptions): void {
    this.#addGroup(createParamGroup(group, this.#defaults));
  }

  /**
   * Makes one step over all parameters that have a gradient: completely, or not at all.
   *
   * @throws NonFiniteGradientError under nonFinite "throw"; TypeError or RangeError for a gradient of
   *   another type or length, a wrong live option, or a wrong rate from a schedule. Then nothing was written.
   */
  step(options: StepOptions = {}): StepReport {
    const gradScale = checkedGradScale(options);
    const { groups } = this.#nextStep();
    const outcome = runStep(groups, { kernel: this.#kernel, gradScale });
    if (!outcome.skipped) this.#stepCount++;
    return { step: this.#stepCount, lr: groups[0]?.learningRate ?? 0, ...outcome };
  }

  /** Fills every gradient with 0; gradients that are null stay null. */
  zeroGrad(): void {
    for (const { parameter } of this.#layers) parameter.grad?.fill(0);
  }

  /** Bytes of optimizer state held now: 4, or 1.0157 with 8 bits, per parameter with momentum. */
  get stateBytes(): number {
    return this.#layers.reduce((bytes, layer) => bytes + layer.stateBytes, 0);
  }

  /** The name of the kernel that runs the steps: "wasm", or "reference" where WebAssembly can't start. */
  get kernel(): string {
    return this.#kernel.name;
  }

  /** The most threads that a step uses, including the caller's. They start when a step first needs them. */
  get threads(): number {
    return this.#kernel.threads;
  }

  /**
   * A copy of the state: step counts, momentum, clipping histories. It does not include options, which
   * belong to the constructor.
   *
   * @throws Error after {@link dispose}
   */
  stateDict(): StateDict {
    this.#checkAlive();
    return readState(this.#stepCount, this.#layers);
  }

  /**
   * Restores what {@link stateDict} returned. Layers are matched by name if all have distinct names, else
   * by position. Momentum saved with 32 bits is quantized where this optimizer keeps 8, and the other way
   * round; the return value lists the converted layers.
   *
   * @throws TypeError or RangeError that names the layer and both shapes; then nothing was loaded
   */
  loadStateDict(saved: StateDict): LoadReport {
    this.#checkAlive();
    const report = restoreState(saved, this.#owned, this.#kernel);
    this.#stepCount = saved.step;
    return report;
  }

  /**
   * Frees the state, and soon ends the threads if no other optimizer uses them. The optimizer can't be used
   * afterwards; a second call does nothing. Parameters stay usable. Call it when training ends. The state of an
   * unreachable optimizer is freed too, but only when the engine collects it.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const layer of this.#layers) setMomentum(layer, null, this.#kernel);
    this.#kernel.dispose();
  }

  get #bits(): BitsOfClass {
    const { name, fixedBits } = this.constructor as typeof LARS;
    return { className: name, fixedBits };
  }

  #addGroup(group: ParamGroup): void {
    this.#checkAlive();
    checkBitsOfGroup(group, this.#bits);
    const known = new Set(this.#layers.map(({ parameter }) => parameter));
    group.params.forEach((parameter, index) => {
      if (known.has(parameter)) {
        throw new TypeError(
          `params: expected each parameter once over all groups, got ${parameter.name === undefined ? `parameter ${String(index)} of the group` : shown(parameter.name)} twice`,
        );
      }
      known.add(parameter);
    });
    const first = this.#layers.length;
    const layers = group.params.map((parameter, index) => new Layer(parameter, first + index));
    this.#owned.push({ group, layers });
    this.#groups.push(group);
  }

  #checkAlive(): void {
    if (this.#disposed) throw new Error("expected an optimizer in use, got a disposed one");
  }

  /** All layers, in the order of the groups. */
  get #layers(): Layer<Parameter>[] {
    return this.#owned.flatMap(({ layers }) => layers);
  }

  #nextStep(): NextStep {
    this.#checkAlive();
    const groups = this.#owned.map(({ group, layers }) => {
      const values = group.hyperparameters();
      checkBitsOfGroup(group, this.#bits);
      return { layers, values, learningRate: rateAt(values.lr, this.#stepCount) };
    });
    return { step: this.#stepCount, groups };
  }
}

/** LARS with 8-bit momentum: 1.0157 bytes of state per parameter. A group may ask for 32 bits. */
export class LARS8bit extends LARS {
  protected static override readonly fixedBits = FIXED_BITS.LARS8bit;
}

/** LARS with 32-bit momentum: 4 bytes of state per parameter. */
export class LARS32bit extends LARS {
  protected static override readonly fixedBits = FIXED_BITS.LARS32bit;
}
