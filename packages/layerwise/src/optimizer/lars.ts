/** LARS, LARS8bit, LARS32bit: a step is measure → decide → apply over all layers. */
import {
  checkChoice,
  checkInteger,
  checkNames,
  checkObject,
  checkPositive,
  shown,
} from "../check.js";
import { globalClipScale } from "../decide/global-clipping.js";
import { clipToPercentile, PERCENTILE_OFF } from "../decide/percentile-clipping.js";
import { ruleOf, trustRatioOf } from "../decide/trust-ratio.js";
import { NonFiniteGradientError } from "../errors.js";
import { createKernel } from "../kernels/choose.js";
import type { KernelName } from "../kernels/choose.js";
import { NO_SUMS } from "../kernels/kernel.js";
import type { Kernel, KernelTask, Momentum, SumsOfSquares } from "../kernels/kernel.js";
import { checkBitsOfGroup, FIXED_BITS, withFixedBits } from "../options/fixed-bits.js";
import type { BitsOfClass } from "../options/fixed-bits.js";
import { resolveOptions } from "../options/options.js";
import type { Hyperparameters, LARSOptions } from "../options/options.js";
import type { StateDict } from "../state/saved-state.js";
import { directionEquation, unscaledEquation, updateEquation } from "../step/equation.js";
import { Layer, momentumAs, wantedMomentum } from "../step/layer.js";
import { createParamGroup, createParamGroups } from "./param-group.js";
import type { ParamGroup, ParamGroupOptions } from "./param-group.js";
import type { Parameter } from "./parameter.js";
import { readState, restoreState } from "./state-dict.js";
import type { LoadReport } from "./state-dict.js";

const MOST_THREADS = 64;

/** How a step is run, beside what it computes. */
export interface KernelOptions {
  /** "wasm" (SIMD) or "reference" (float64, slow); adapters bring their own. Default: "wasm" where it runs. */
  kernel?: KernelName | Kernel;
  /**
   * The most threads that a step uses, ≥ 1. Default: the cores. Results have the same bits on any number.
   * {@link LARS.threads} says how many there are: 1 on a page that is not cross-origin isolated.
   */
  threads?: number;
}

/** Options of one step. */
export interface StepOptions {
  /** Multiplies every gradient, > 0: 1/lossScale, or 1/parts for summed gradients. Default 1. */
  gradScale?: number;
}

/** What a step did to one layer. Norms are Euclidean. */
export interface LayerReport {
  /** The parameter's name, or its position. */
  name: string;
  /** ‖w‖ before the step. */
  weightNorm: number;
  /** ‖g‖ after gradScale, before clipping. */
  gradNorm: number;
  /**
   * ‖u‖, the update before the step's factors. Where r goes into the direction, u has it, and under
   * momentumOrder "classic" γ too. 0 in a skipped step.
   */
  updateNorm: number;
  /** r; 0 in a skipped step. */
  trustRatio: number;
  /** c: the percentile and the global clipping together; 0 in a skipped step. */
  clipScale: number;
}

/** What a step did. */
export interface StepReport {
  /** Steps made so far, this one included; a skipped step does not count. */
  step: number;
  /** The learning rate of the first group. */
  lr: number;
  /** True when a gradient was not finite and nothing was written. */
  skipped: boolean;
  /** The norm of all gradients together, after gradScale, before clipping. */
  gradNorm: number;
  /** The layers that have a gradient, in the order of the groups. */
  layers: LayerReport[];
}

/** One layer on its way through a step. */
interface LayerStep {
  readonly layer: Layer;
  readonly gradient: Float32Array;
  readonly values: Hyperparameters;
  readonly learningRate: number;
  readonly isFirst: boolean;
  sums: SumsOfSquares;
  clipScale: number;
  trustRatio: number;
  history: Float64Array | null;
}

/** The options of each group in one step, and its rate. */
type GroupRates = ReadonlyMap<ParamGroup, Pick<LayerStep, "values" | "learningRate">>;

/**
 * LARS: layer-wise adaptive rate scaling. SGD with momentum in which each layer's step is calibrated by
 * a trust ratio between the norm of its weights and that of its update or gradient.
 *
 * Source: You, Gitman, Ginsburg 2017 (arXiv 1708.03888); options and defaults: bitsandbytes
 * `optim/lars.py`.
 */
export class LARS {
  /** The bits that a subclass allows, or null for both. */
  protected static readonly fixedBits: 8 | 32 | null = FIXED_BITS.LARS;

  /** Live groups: what is set on them holds from the next step on. */
  readonly paramGroups: readonly ParamGroup[];
  readonly #groups: ParamGroup[] = [];
  readonly #layers: Layer[] = [];
  readonly #defaults: Hyperparameters;
  readonly #kernel: Kernel;
  #stepCount = 0;
  #disposed = false;

  /**
   * @param params parameters, or groups of them with options of their own
   * @param options see {@link LARSOptions}; `lr` is required
   * @param kernelOptions how steps are run
   * @throws TypeError or RangeError that names the option, the value and what is allowed; TypeError for
   *   an empty list and for a parameter given twice
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
    // Last, when nothing can be refused any more: it may start threads.
    this.#kernel = createKernel(kernel, threads);
  }

  /**
   * Adds a group; what it leaves out it takes from the constructor's options.
   *
   * @throws as the constructor does; the optimizer is then unchanged
   */
  addParamGroup(group: ParamGroupOptions): void {
    this.#addGroup(createParamGroup(group, this.#defaults));
  }

  /**
   * Makes one step over all parameters that have a gradient: whole, or not at all.
   *
   * @throws NonFiniteGradientError under nonFinite "throw"; TypeError or RangeError for a gradient of
   *   another type or length, a wrong live option, or a schedule's wrong rate. Nothing was written then.
   */
  step(options: StepOptions = {}): StepReport {
    checkNames("step options", checkObject("step options", options), ["gradScale"]);
    const gradScale = checkPositive("gradScale", options.gradScale ?? 1);
    const rates = this.#rates();
    const lr = rates.get(this.#groups[0]!)?.learningRate ?? 0;
    const steps = this.#begin(rates);
    this.#measure(steps, gradScale);
    const broken = steps.filter(({ sums }) => !Number.isFinite(sums.gradient));
    const thrown = broken.find(({ values }) => values.nonFinite === "throw");
    if (thrown !== undefined) throw new NonFiniteGradientError(thrown.layer.label);
    if (broken.length > 0) return { lr, ...this.#report(steps, gradScale, null) };
    this.#decide(steps, gradScale);
    return { lr, ...this.#report(steps, gradScale, this.#apply(steps, gradScale)) };
  }

  /** Fills every gradient with 0; gradients that are null stay null. */
  zeroGrad(): void {
    for (const { parameter } of this.#layers) parameter.grad?.fill(0);
  }

  /** Bytes of optimizer state held now: 4, or 1.0157 with 8 bits, per parameter with momentum. */
  get stateBytes(): number {
    return this.#layers.reduce((bytes, layer) => bytes + layer.stateBytes, 0);
  }

  /** Threads that a step uses, the caller's own included. */
  get threads(): number {
    return this.#kernel.threads;
  }

  /**
   * A copy of the state: step counts, momentum, clipping histories. Options are not part of it: they
   * belong to the constructor.
   */
  stateDict(): StateDict {
    return readState(this.#stepCount, this.#layers);
  }

  /**
   * Restores what {@link stateDict} returned. Layers are matched by name when all have distinct names, else
   * by position. Momentum saved with 32 bits is quantised where this optimizer keeps 8, and the other way
   * round; the return value lists the layers that were converted.
   *
   * @throws TypeError or RangeError that names the layer and both shapes; nothing was loaded then
   */
  loadStateDict(saved: StateDict): LoadReport {
    this.#checkAlive();
    const report = restoreState(saved, this.#layers, this.#kernel);
    this.#stepCount = saved.step;
    return report;
  }

  /**
   * Gives the state's memory back, and ends the threads if no other optimizer uses them. The optimizer
   * can't step afterwards. Parameters stay usable.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const layer of this.#layers) this.#setMomentum(layer, null);
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
          `params: ${parameter.name === undefined ? `parameter ${String(index)} of the group` : shown(parameter.name)} is given twice; allowed is once in all groups together`,
        );
      }
      known.add(parameter);
    });
    for (const parameter of group.params) {
      this.#layers.push(new Layer(parameter, group, this.#layers.length));
    }
    this.#groups.push(group);
  }

  #checkAlive(): void {
    if (this.#disposed) throw new Error("the optimizer was disposed of");
  }

  /** The options of every group in this step, checked, and its rate. */
  #rates(): GroupRates {
    this.#checkAlive();
    return new Map(
      this.#groups.map((group) => {
        const values = group.hyperparameters();
        checkBitsOfGroup(group, this.#bits);
        return [group, { values, learningRate: rateAt(values.lr, this.#stepCount) }];
      }),
    );
  }

  /** The layers that have a gradient, checked. */
  #begin(rates: GroupRates): LayerStep[] {
    return this.#layers.flatMap((layer) => {
      const gradient = checkedGradient(layer);
      const options = rates.get(layer.group);
      if (gradient === null || options === undefined) return [];
      return {
        layer,
        gradient,
        values: options.values,
        learningRate: options.learningRate,
        isFirst: layer.momentum === null || options.values.momentum === 0,
        sums: NO_SUMS,
        clipScale: 1,
        trustRatio: 0,
        history: layer.gradientHistory,
      };
    });
  }

  #measure(steps: readonly LayerStep[], gradScale: number): void {
    const sums = this.#kernel.measure(steps.map((step) => measureTask(step, gradScale)));
    steps.forEach((step, index) => (step.sums = sums[index] ?? NO_SUMS));
  }

  /** Clipping factors, then trust ratios. */
  #decide(steps: readonly LayerStep[], gradScale: number): void {
    for (const step of steps) decidePercentileClip(step, gradScale);
    decideGlobalClip(steps, gradScale);
    // Clipping changes d and so ‖u‖; the gradient's own sum stands.
    const remeasured = steps.filter(
      (step) => step.clipScale !== 1 && measured(step).update !== "nothing",
    );
    this.#measure(remeasured, gradScale);
    for (const step of steps) {
      step.trustRatio = trustRatioOf(
        step.values.trustRatio,
        {
          weight: Math.sqrt(step.sums.weights),
          gradient: step.clipScale * gradientNorm(step, gradScale),
          update: Math.sqrt(step.sums.update),
        },
        { weightDecay: step.values.weightDecay, learningRate: step.learningRate },
      );
    }
  }

  /** Writes weights, momentum, counts and histories, and returns the sums of the apply pass. */
  #apply(steps: readonly LayerStep[], gradScale: number): SumsOfSquares[] {
    const momenta = steps.map(({ layer, values }) => {
      const { size } = layer.parameter;
      return momentumAs(
        wantedMomentum(values, size),
        layer.momentum,
        layer.parameter,
        this.#kernel,
      );
    });
    steps.forEach(({ layer }, index) => {
      this.#setMomentum(layer, momenta[index] ?? null);
    });
    const sums = this.#kernel.apply(steps.map((step) => applyTask(step, gradScale)));
    for (const { layer, history } of steps) {
      layer.stepCount++;
      layer.gradientHistory = history;
    }
    this.#stepCount++;
    return sums;
  }

  #setMomentum(layer: Layer, next: Momentum | null): void {
    if (next === layer.momentum) return;
    if (layer.momentum !== null) this.#kernel.releaseMomentum(layer.momentum);
    layer.momentum = next;
  }

  /** @param applied the sums of the apply pass, or null in a skipped step */
  #report(
    steps: readonly LayerStep[],
    gradScale: number,
    applied: readonly SumsOfSquares[] | null,
  ): Omit<StepReport, "lr"> {
    return {
      step: this.#stepCount,
      skipped: applied === null,
      gradNorm: globalNorm(steps.map((step) => gradientNorm(step, gradScale))),
      layers: steps.map((step, index) =>
        layerReport(step, gradScale, applied === null ? null : (applied[index] ?? NO_SUMS)),
      ),
    };
  }
}

/** LARS with 8-bit momentum: 1.0157 bytes of state a parameter. A group may ask for 32 bits. */
export class LARS8bit extends LARS {
  protected static override readonly fixedBits = FIXED_BITS.LARS8bit;
}

/** LARS with 32-bit momentum: 4 bytes of state a parameter. */
export class LARS32bit extends LARS {
  protected static override readonly fixedBits = FIXED_BITS.LARS32bit;
}

function checkedKernel(given: unknown): KernelName | Kernel {
  const isKernel =
    typeof given === "object" && given !== null && "measure" in given && "apply" in given;
  if (isKernel) return given as Kernel;
  return checkChoice<KernelName>("kernel", given, ["wasm", "reference"]);
}

function checkedKernelOptions(given: unknown): KernelOptions {
  const options = checkObject("kernel options", given);
  checkNames("kernel options", options, ["kernel", "threads"]);
  const { kernel, threads } = options;
  return {
    ...(kernel === undefined ? {} : { kernel: checkedKernel(kernel) }),
    ...(threads === undefined
      ? {}
      : { threads: checkInteger("threads", threads, 1, MOST_THREADS) }),
  };
}

/**
 * γ of a step, counted from 0.
 *
 * @throws RangeError when a schedule gives anything but a finite number ≥ 0
 */
export function rateAt(lr: Hyperparameters["lr"], step: number): number {
  if (typeof lr === "number") return lr;
  const rate: unknown = lr(step);
  if (typeof rate === "number" && Number.isFinite(rate) && rate >= 0) return rate;
  throw new RangeError(
    `lr: the schedule gave ${shown(rate)} at step ${String(step)}; allowed is a finite number ≥ 0`,
  );
}

function checkedGradient({ parameter, label }: Layer): Float32Array | null {
  const gradient: unknown = parameter.grad;
  if (gradient === null) return null;
  if (!(gradient instanceof Float32Array)) {
    throw new TypeError(
      `layer ${shown(label)}: grad is ${shown(gradient)}; allowed is null or a Float32Array`,
    );
  }
  if (gradient.length !== parameter.size) {
    throw new RangeError(
      `layer ${shown(label)}: grad has ${String(gradient.length)} elements; allowed is ${String(parameter.size)}, as data has`,
    );
  }
  return gradient;
}

function measured({ values }: LayerStep): ReturnType<ReturnType<typeof ruleOf>["measures"]> {
  return ruleOf(values.trustRatio).measures(values.trustRatio);
}

function measureTask(step: LayerStep, gradScale: number): KernelTask {
  const { layer, gradient, values, isFirst } = step;
  const scalars = { gradientScale: gradScale * step.clipScale, isFirst };
  const wanted = measured(step);
  const ofDirection = wanted.update === "direction";
  return {
    arrays: {
      weights: layer.parameter.data,
      gradient,
      momentum: ofDirection ? null : layer.momentum,
    },
    equation: ofDirection ? directionEquation(values, scalars) : unscaledEquation(values, scalars),
    sums: { weights: wanted.weights, update: wanted.update !== "nothing" },
  };
}

/** The norms that the report wants and the measure pass did not need come from the apply pass. */
function applyTask(step: LayerStep, gradScale: number): KernelTask {
  const { layer, gradient, values } = step;
  const wanted = measured(step);
  return {
    arrays: { weights: layer.parameter.data, gradient, momentum: layer.momentum },
    equation: updateEquation(values, {
      learningRate: step.learningRate,
      gradientScale: gradScale * step.clipScale,
      trustRatio: step.trustRatio,
      isFirst: step.isFirst,
    }),
    sums: { weights: !wanted.weights, update: wanted.update !== "update" },
  };
}

function decidePercentileClip(step: LayerStep, gradScale: number): void {
  const { layer, values } = step;
  if (values.percentileClipping === PERCENTILE_OFF) return;
  const clip = clipToPercentile(
    layer.gradientHistory,
    layer.stepCount + 1,
    gradientNorm(step, gradScale) ** 2,
    values.percentileClipping,
  );
  step.clipScale = clip.scale;
  step.history = clip.history;
}

/** The norm is taken over all layers; a group's own limit holds for its layers. */
function decideGlobalClip(steps: readonly LayerStep[], gradScale: number): void {
  const norm = globalNorm(steps.map((step) => step.clipScale * gradientNorm(step, gradScale)));
  for (const step of steps) {
    const { maxGradNorm } = step.values;
    if (maxGradNorm !== null) step.clipScale *= globalClipScale(norm, maxGradNorm);
  }
}

/** ‖gradScale·g‖ of one layer. */
function gradientNorm({ sums }: LayerStep, gradScale: number): number {
  return gradScale * Math.sqrt(sums.gradient);
}

function globalNorm(norms: readonly number[]): number {
  return Math.sqrt(norms.reduce((sum, norm) => sum + norm * norm, 0));
}

function layerReport(
  step: LayerStep,
  gradScale: number,
  applied: SumsOfSquares | null,
): LayerReport {
  const wanted = measured(step);
  const weights = wanted.weights ? step.sums : (applied ?? NO_SUMS);
  const update = wanted.update === "update" ? step.sums : (applied ?? NO_SUMS);
  return {
    name: step.layer.label,
    weightNorm: Math.sqrt(weights.weights),
    gradNorm: gradientNorm(step, gradScale),
    updateNorm: applied === null ? 0 : Math.sqrt(update.update),
    trustRatio: applied === null ? 0 : step.trustRatio,
    clipScale: applied === null ? 0 : step.clipScale,
  };
}
