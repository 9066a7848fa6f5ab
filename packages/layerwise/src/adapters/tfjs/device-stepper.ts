/**
 * A step on webgl, webgpu, tfjs-node and any backend whose memory JavaScript can't reach. Norms, decisions and state
 * stay there; nothing is read back within a step.
 */
import { PERCENTILE_OFF } from "../../decide/percentile-clipping.js";
import { ruleOf } from "../../decide/trust-ratio.js";
import { directionEquation, unscaledEquation, updateEquation } from "../../equation.js";
import { NonFiniteGradientError } from "../../errors.js";
import { referenceKernel } from "../../kernels/reference.js";
import { rateAt } from "../../lars.js";
import { momentumAs, wantedMomentum } from "../../layer.js";
import type { Hyperparameters, LARSOptions } from "../../options.js";
import type { LayerState, StateDict } from "../../state/saved-state.js";
import {
  clipToPercentile,
  emptyHistory,
  evaluateQuotient,
  globalClipScale,
} from "./device-decide.js";
import { download, tensorsOf, upload } from "./device-momentum.js";
import type { DeviceMomentum } from "./device-momentum.js";
import { norm, TensorPasses } from "./device-passes.js";
import type { DeviceEquation, DevicePasses, LayerPasses, Measured } from "./device-passes.js";
import { hyperparametersOf } from "./options.js";
import type { CoreClass } from "./options.js";
import type { Slot, Stepper, VariableStep } from "./stepper.js";
import type { Tensor, TensorData, TensorFlow } from "./tensorflow.js";
import { isWebGPUBackend } from "./webgpu-backend.js";
import { WebGPUPasses } from "./webgpu-passes.js";

/** A variable's state; the tensors are kept until a step replaces them. */
interface DeviceLayer {
  readonly slot: Slot;
  readonly values: Hyperparameters;
  /** Steps made, as a scalar: whether a step was skipped is known on the device only. */
  stepCount: Tensor;
  momentum: DeviceMomentum | null;
  /** [100] norms, once percentile clipping is on. */
  history: Tensor | null;
}

/** A layer on its way through a step. */
interface LayerStep {
  readonly layer: DeviceLayer;
  readonly learningRate: number;
  readonly passes: LayerPasses;
  readonly norms: Measured;
  /** null: 1 */
  clipScale: Tensor | null;
  history: Tensor | null;
}

export class DeviceStepper implements Stepper {
  readonly #tf: TensorFlow;
  readonly #Core: CoreClass;
  readonly #options: LARSOptions;
  readonly #layers = new Map<Slot, DeviceLayer>();
  #stepCount = 0;
  readonly #watch: FiniteWatch;
  #passes: DevicePasses;

  constructor(tf: TensorFlow, Core: CoreClass, options: LARSOptions) {
    this.#tf = tf;
    this.#Core = Core;
    this.#options = options;
    this.#watch = new FiniteWatch(tf);
    this.#passes = passesOf(tf);
  }

  get stateBytes(): number {
    let elements = 0;
    for (const layer of this.#layers.values()) {
      for (const tensor of heldBy(layer)) elements += tensor.size;
    }
    return elements * Float32Array.BYTES_PER_ELEMENT;
  }

  add(slot: Slot): void {
    const values = hyperparametersOf(this.#Core, this.#options, slot.options);
    const empty = { name: slot.name, shape: [], step: 0, momentum: null, gradientHistory: null };
    this.#layers.set(slot, this.#uploaded(slot, values, empty));
  }

  step(steps: readonly VariableStep[], lr: LARSOptions["lr"]): null {
    this.#watch.throwIfBroken();
    const tf = this.#tf;
    this.#passes = passesOf(tf);
    for (const { slot } of steps) this.#repack(this.#layerOf(slot));
    tf.tidy(() => {
      const begun = steps.map((step) => this.#begin(step, lr));
      const isFinite = tf.all(tf.stack(begun.map(({ norms }) => norms.isFinite)));
      this.#clip(begun);
      for (const step of begun) this.#apply(step, this.#trustRatio(step), isFinite);
      const watched = begun.filter(({ layer }) => layer.values.nonFinite === "throw");
      this.#watch.note(watched.map(({ layer, norms }) => [layer.slot, norms.isFinite]));
    });
    this.#stepCount++;
    this.#watch.read();
    return null;
  }

  #begin({ slot, variable, gradient }: VariableStep, lr: LARSOptions["lr"]): LayerStep {
    const layer = this.#layerOf(slot);
    const passes = this.#passes.begin({ variable, gradient, momentum: layer.momentum });
    const isLast = !clips(layer.values);
    return {
      layer,
      learningRate: rateAt(slot.options.lr ?? lr, this.#stepCount),
      passes,
      norms: this.#measure(layer, passes, { clipScale: null, isLast }),
      clipScale: null,
      history: null,
    };
  }

  /**
   * The norms that a layer's rule asks for.
   *
   * @param isLast false: clipping will change ‖u‖, which is left out
   */
  #measure(
    layer: DeviceLayer,
    passes: LayerPasses,
    { clipScale, isLast }: { clipScale: Tensor | null; isLast: boolean },
  ): Measured {
    const { values, momentum } = layer;
    const { weights, update } = ruleOf(values.trustRatio).measures(values.trustRatio);
    if (update === "nothing" || !isLast) {
      return passes.measure({ weights, update: null, momentum: false });
    }
    const isDirection = update === "direction";
    const equation = isDirection
      ? directionEquation(values, { gradientScale: 1 })
      : unscaledEquation(values, { gradientScale: 1, isFirst: momentum === null });
    const { accumulation } = equation;
    return passes.measure({
      weights,
      update: {
        ...equation,
        gradientFactor: scaled(this.#tf, equation.gradientFactor, clipScale),
        accumulation: isDirection ? accumulation : this.#accumulation(layer, accumulation),
      },
      momentum: !isDirection,
    });
  }

  #clip(steps: readonly LayerStep[]): void {
    const tf = this.#tf;
    for (const step of steps) {
      const { percentileClipping } = step.layer.values;
      if (percentileClipping === PERCENTILE_OFF || step.layer.history === null) continue;
      const { history, stepCount } = step.layer;
      const now = tf.add(stepCount, 1);
      const clip = clipToPercentile(tf, history, now, step.norms.gradient, percentileClipping);
      step.clipScale = clip.scale;
      step.history = clip.history;
    }
    if (steps.every(({ layer }) => layer.values.maxGradNorm === null)) return;
    const globalNorm = norm(tf, tf.stack(steps.map((step) => this.#clippedNorm(step))));
    for (const step of steps) {
      const { maxGradNorm } = step.layer.values;
      if (maxGradNorm === null) continue;
      step.clipScale = times(tf, step.clipScale, globalClipScale(tf, globalNorm, maxGradNorm));
    }
  }

  /** ‖c·g‖ */
  #clippedNorm({ clipScale, norms }: LayerStep): Tensor {
    return times(this.#tf, clipScale, norms.gradient);
  }

  /** r as a scalar; null: 1. */
  #trustRatio(step: LayerStep): Tensor | null {
    const { layer, learningRate } = step;
    const { trustRatio, weightDecay } = layer.values;
    const rule = ruleOf(trustRatio);
    const quotient = rule.quotient(trustRatio, { weightDecay, learningRate });
    if (quotient === null) return null;
    const { clipScale, norms, passes } = step;
    const isMeasured = clipScale === null;
    const { weights, update } = isMeasured
      ? norms
      : this.#measure(layer, passes, { clipScale, isLast: true });
    return evaluateQuotient(this.#tf, quotient, {
      gradient: this.#clippedNorm(step),
      weight: weights,
      update,
    });
  }

  /** Writes weights and state, unless a gradient of the step is not finite. */
  #apply(step: LayerStep, ratio: Tensor | null, isFinite: Tensor): void {
    const tf = this.#tf;
    const { layer } = step;
    const momentum = step.passes.apply(this.#equation(step, ratio), isFinite);
    const replace = (before: Tensor, after: Tensor): Tensor => {
      const kept = tf.keep(after);
      before.dispose();
      return kept;
    };
    const either = (before: Tensor, after: Tensor): Tensor =>
      replace(before, tf.where(isFinite, after, before));
    layer.stepCount = either(layer.stepCount, tf.add(layer.stepCount, 1));
    if (layer.history !== null && step.history !== null) {
      layer.history = either(layer.history, step.history);
    }
    for (const tensor of tensorsOf(momentum)) tf.keep(tensor);
    for (const tensor of tensorsOf(layer.momentum)) tensor.dispose();
    layer.momentum = momentum;
  }

  /**
   * The core's equation, in which the ratio and the clipping are scalars of the device. Both are factors of its
   * numbers, so it is made for 1 and 1 and multiplied.
   */
  #equation(step: LayerStep, ratio: Tensor | null): DeviceEquation {
    const tf = this.#tf;
    const { layer, learningRate, clipScale } = step;
    const { values } = layer;
    const isFirst = layer.momentum === null;
    const scalars = { learningRate, gradientScale: 1, trustRatio: 1, isFirst };
    const equation = updateEquation(values, scalars);
    const isAfter = ruleOf(values.trustRatio).placement(values.trustRatio) === "after";
    const [inDirection, inStep] = isAfter ? [null, ratio] : [ratio, null];
    return {
      ...equation,
      gradientFactor: scaled(tf, scaled(tf, equation.gradientFactor, clipScale), inDirection),
      weightFactor: scaled(tf, equation.weightFactor, inDirection),
      stepSize: scaled(tf, equation.stepSize, inStep),
      accumulation: this.#accumulation(layer, equation.accumulation),
    };
  }

  /** Without dampening on a layer's first step, which only the device knows. */
  #accumulation({ values, stepCount, momentum }: DeviceLayer, later: number): number | Tensor {
    if (momentum === null || values.dampening === 0) return later;
    const tf = this.#tf;
    const { accumulation } = unscaledEquation(values, { gradientScale: 1, isFirst: true });
    return tf.where(tf.equal(stepCount, 0), tf.scalar(accumulation), tf.scalar(later));
  }

  /** Codes in the backend's packing: it may have been changed between two steps. */
  #repack(layer: DeviceLayer): void {
    const { momentum, slot } = layer;
    const { packing } = this.#passes;
    if (momentum?.kind !== "blockwise" || momentum.packing === packing) return;
    const before = tensorsOf(momentum);
    const values = before.map((tensor) => tensor.dataSync());
    layer.momentum = upload(this.#tf, download(momentum, slot.size, values), packing);
    for (const tensor of tensorsOf(layer.momentum)) this.#tf.keep(tensor);
    for (const tensor of before) tensor.dispose();
  }

  async state(): Promise<StateDict> {
    const layers = [...this.#layers.values()];
    const values = await Promise.all(
      layers.map((layer) => Promise.all(heldBy(layer).map((tensor) => tensor.data()))),
    );
    return this.#stateOf(layers, values);
  }

  stateSync(): StateDict {
    const layers = [...this.#layers.values()];
    const values = layers.map((layer) => heldBy(layer).map((tensor) => tensor.dataSync()));
    return this.#stateOf(layers, values);
  }

  #stateOf(layers: readonly DeviceLayer[], values: readonly TensorData[][]): StateDict {
    return {
      step: this.#stepCount,
      layers: layers.map((layer, index) => {
        const [stepCount, ...rest] = values[index]!;
        return downloaded(layer, stepCount![0]!, rest);
      }),
    };
  }

  load(stepCount: number, layers: ReadonlyMap<Slot, LayerState>): void {
    this.#stepCount = stepCount;
    for (const [slot, state] of layers) {
      const { values } = this.#layerOf(slot);
      const next = this.#uploaded(slot, values, state);
      for (const tensor of heldBy(this.#layerOf(slot))) tensor.dispose();
      this.#layers.set(slot, next);
    }
  }

  #uploaded(slot: Slot, values: Hyperparameters, state: LayerState): DeviceLayer {
    const tf = this.#tf;
    const kind = wantedMomentum(values, slot.size);
    const given = momentumAs(kind, state.momentum, slot.size, referenceKernel);
    const layer = {
      slot,
      values,
      stepCount: tf.scalar(state.step),
      momentum: given === null ? null : upload(tf, given, this.#passes.packing),
      history: values.percentileClipping === PERCENTILE_OFF ? null : this.#historyOf(state),
    };
    for (const tensor of heldBy(layer)) tf.keep(tensor);
    return layer;
  }

  #historyOf({ gradientHistory }: LayerState): Tensor {
    if (gradientHistory === null) return emptyHistory(this.#tf);
    const norms = Float32Array.from(gradientHistory, Math.sqrt);
    return this.#tf.tensor(norms, [norms.length]);
  }

  dispose(): void {
    for (const layer of this.#layers.values()) {
      for (const tensor of heldBy(layer)) tensor.dispose();
    }
    this.#layers.clear();
    this.#watch.dispose();
  }

  #layerOf(slot: Slot): DeviceLayer {
    const layer = this.#layers.get(slot);
    if (layer === undefined) throw new Error(`variable ${slot.name} was not added`);
    return layer;
  }
}

/**
 * Finds out, some steps later, that a gradient was not finite. Flags are collected on the device, and read when
 * the event loop comes to it; one reading is under way at a time.
 */
class FiniteWatch {
  readonly #tf: TensorFlow;
  readonly #slots: Slot[] = [];
  /** [slots] 1 where all gradients since the last error were finite. */
  #flags: Tensor | null = null;
  /** What is being read: a reference of its own, since steps replace the flags. */
  #snapshot: Tensor | null = null;
  #isReading = false;
  #isDisposed = false;
  #broken: Slot | null = null;

  constructor(tf: TensorFlow) {
    this.#tf = tf;
  }

  /** @throws NonFiniteGradientError once for each reading that found one */
  throwIfBroken(): void {
    const broken = this.#broken;
    if (broken === null) return;
    this.#broken = null;
    this.#flags?.dispose();
    this.#flags = null;
    throw new NonFiniteGradientError(broken.name);
  }

  /** Within the tidy of a step. */
  note(flags: readonly (readonly [Slot, Tensor])[]): void {
    if (flags.length === 0) return;
    const tf = this.#tf;
    for (const [slot] of flags) if (!this.#slots.includes(slot)) this.#slots.push(slot);
    const now = new Map(flags);
    const one = tf.scalar(1);
    const current = tf.stack(
      this.#slots.map((slot) => {
        const flag = now.get(slot);
        return flag === undefined ? one : tf.cast(flag, "float32");
      }),
    );
    const before = this.#flags;
    this.#flags = tf.keep(
      before === null
        ? current
        : tf.minimum(current, tf.pad(before, [[0, this.#slots.length - before.size]])),
    );
    before?.dispose();
  }

  /** Begins to read, unless that is under way. */
  read(): void {
    if (this.#flags === null || this.#isReading) return;
    this.#snapshot?.dispose();
    const snapshot = this.#tf.keep(this.#tf.clone(this.#flags));
    this.#snapshot = snapshot;
    this.#isReading = true;
    snapshot.data().then(
      (values) => {
        const index = values.findIndex((value) => value === 0);
        this.#broken = this.#slots[index] ?? null;
        this.#ended();
      },
      () => {
        this.#ended();
      },
    );
  }

  #ended(): void {
    this.#isReading = false;
    if (this.#isDisposed) this.#snapshot?.dispose();
  }

  dispose(): void {
    this.#isDisposed = true;
    this.#flags?.dispose();
    this.#flags = null;
    if (!this.#isReading) this.#snapshot?.dispose();
  }
}

/** Fused where the backend runs our shaders, else by its own operations. */
function passesOf(tf: TensorFlow): DevicePasses {
  const { backendName, backend } = tf.engine();
  return isWebGPUBackend(backendName, backend)
    ? new WebGPUPasses(tf, backend)
    : new TensorPasses(tf);
}

/** Whether the gradient may be clipped, which changes ‖u‖. */
function clips({ percentileClipping, maxGradNorm }: Hyperparameters): boolean {
  return percentileClipping !== PERCENTILE_OFF || maxGradNorm !== null;
}

/** The tensors of a layer's state: first the step count, then the momentum's, then the history. */
function heldBy({ stepCount, momentum, history }: DeviceLayer): Tensor[] {
  return [stepCount, ...tensorsOf(momentum), ...(history === null ? [] : [history])];
}

/** @param rest the values of what {@link heldBy} lists, without the step count */
function downloaded(
  { slot, momentum, history }: DeviceLayer,
  step: number,
  rest: readonly TensorData[],
): LayerState {
  const norms = history === null ? undefined : rest.at(-1);
  return {
    name: slot.name,
    shape: [...slot.shape],
    step,
    momentum: step === 0 || momentum === null ? null : download(momentum, slot.size, rest),
    gradientHistory:
      norms === undefined || step === 0 ? null : Float64Array.from(norms, (norm) => norm ** 2),
  };
}

/** A product in which null is 1. */
function times(tf: TensorFlow, factor: Tensor | null, value: Tensor): Tensor {
  return factor === null ? value : tf.mul(factor, value);
}

function scaled(tf: TensorFlow, value: number | Tensor, factor: Tensor | null): number | Tensor {
  return factor === null || value === 0 ? value : tf.mul(value, factor);
}
