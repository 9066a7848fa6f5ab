/**
 * A step by tensor operations: on webgl, webgpu, tfjs-node and any backend whose memory JavaScript can't reach.
 * Norms, decisions and state stay there; nothing is read back within a step.
 */
import { PERCENTILE_OFF } from "../../decide/percentile-clipping.js";
import { ruleOf } from "../../decide/trust-ratio.js";
import { directionEquation, unscaledEquation, updateEquation } from "../../equation.js";
import { NonFiniteGradientError } from "../../errors.js";
import { referenceKernel } from "../../kernels/reference.js";
import type { UpdateEquation } from "../../kernels/kernel.js";
import { rateAt } from "../../lars.js";
import { momentumAs, wantedMomentum } from "../../layer.js";
import type { Hyperparameters, LARSOptions } from "../../options.js";
import type { LayerState, StateDict } from "../../state/saved-state.js";
import {
  clipToPercentile,
  emptyHistory,
  evaluateQuotient,
  globalClipScale,
  norm,
} from "./device-decide.js";
import { decode, download, encode, tensorsOf, upload } from "./device-momentum.js";
import type { DeviceMomentum } from "./device-momentum.js";
import { hyperparametersOf } from "./options.js";
import type { CoreClass } from "./options.js";
import type { Slot, Stepper, VariableStep } from "./stepper.js";
import type { Tensor, TensorData, TensorFlow, Variable } from "./tensorflow.js";

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

/** A layer on its way through a step. All tensors are flat, or scalars. */
interface LayerStep {
  readonly layer: DeviceLayer;
  readonly variable: Variable;
  readonly learningRate: number;
  readonly weights: Tensor;
  readonly gradient: Tensor;
  /** Decoded; null without momentum. */
  readonly momentum: Tensor | null;
  readonly gradientNorm: Tensor;
  readonly isFinite: Tensor;
  /** null: 1 */
  clipScale: Tensor | null;
  history: Tensor | null;
}

/** An equation whose factors may be scalars of the device. */
type DeviceEquation = {
  readonly [Key in keyof UpdateEquation]: UpdateEquation[Key] extends number
    ? number | Tensor
    : UpdateEquation[Key];
};

export class DeviceStepper implements Stepper {
  readonly #tf: TensorFlow;
  readonly #Core: CoreClass;
  readonly #options: LARSOptions;
  readonly #layers = new Map<Slot, DeviceLayer>();
  #stepCount = 0;
  readonly #watch: FiniteWatch;

  constructor(tf: TensorFlow, Core: CoreClass, options: LARSOptions) {
    this.#tf = tf;
    this.#Core = Core;
    this.#options = options;
    this.#watch = new FiniteWatch(tf);
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
    tf.tidy(() => {
      const begun = steps.map((step) => this.#begin(step, lr));
      const isFinite = tf.all(tf.stack(begun.map((step) => step.isFinite)));
      this.#clip(begun);
      for (const step of begun) this.#apply(step, this.#trustRatio(step), isFinite);
      this.#watch.note(begun.filter(throws).map(({ layer, isFinite }) => [layer.slot, isFinite]));
    });
    this.#stepCount++;
    this.#watch.read();
    return null;
  }

  #begin({ slot, variable, gradient }: VariableStep, lr: LARSOptions["lr"]): LayerStep {
    const tf = this.#tf;
    const layer = this.#layerOf(slot);
    const flat = tf.reshape(gradient, [slot.size]);
    const { momentum } = layer;
    return {
      layer,
      variable,
      learningRate: rateAt(slot.options.lr ?? lr, this.#stepCount),
      weights: tf.reshape(variable, [slot.size]),
      gradient: flat,
      momentum: momentum === null ? null : decode(tf, momentum, slot.size),
      gradientNorm: norm(tf, flat),
      isFinite: tf.all(tf.isFinite(flat)),
      clipScale: null,
      history: null,
    };
  }

  #clip(steps: readonly LayerStep[]): void {
    const tf = this.#tf;
    for (const step of steps) {
      const { percentileClipping } = step.layer.values;
      if (percentileClipping === PERCENTILE_OFF || step.layer.history === null) continue;
      const { history, stepCount } = step.layer;
      const now = tf.add(stepCount, 1);
      const clip = clipToPercentile(tf, history, now, step.gradientNorm, percentileClipping);
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
  #clippedNorm({ clipScale, gradientNorm }: LayerStep): Tensor {
    return times(this.#tf, clipScale, gradientNorm);
  }

  /** r as a scalar; null: 1. */
  #trustRatio(step: LayerStep): Tensor | null {
    const { layer, learningRate } = step;
    const { trustRatio, weightDecay } = layer.values;
    const rule = ruleOf(trustRatio);
    const quotient = rule.quotient(trustRatio, { weightDecay, learningRate });
    if (quotient === null) return null;
    const wanted = rule.measures(trustRatio);
    return evaluateQuotient(this.#tf, quotient, {
      gradient: this.#clippedNorm(step),
      weight: wanted.weights ? norm(this.#tf, step.weights) : null,
      update: wanted.update === "nothing" ? null : this.#updateNorm(step, wanted.update),
    });
  }

  #updateNorm(step: LayerStep, of: "direction" | "update"): Tensor {
    const { values } = step.layer;
    const history = { gradientScale: 1, isFirst: step.momentum === null };
    const equation =
      of === "direction" ? directionEquation(values, history) : unscaledEquation(values, history);
    const clipped = {
      ...equation,
      gradientFactor: scaled(this.#tf, equation.gradientFactor, step.clipScale),
    };
    const momentum = of === "direction" ? null : step.momentum;
    return norm(this.#tf, this.#evaluate(step, momentum, clipped).update);
  }

  /** Writes weights and state, unless a gradient of the step is not finite. */
  #apply(step: LayerStep, ratio: Tensor | null, isFinite: Tensor): void {
    const tf = this.#tf;
    const { layer, variable, weights } = step;
    const equation = this.#equation(step, ratio);
    const { momentum, update } = this.#evaluate(step, step.momentum, equation);
    const next = tf.sub(weights, tf.mul(update, equation.stepSize));
    variable.assign(tf.reshape(tf.where(isFinite, next, weights), [...variable.shape]));
    const replace = (before: Tensor, after: Tensor): Tensor => {
      const kept = tf.keep(tf.where(isFinite, after, before));
      before.dispose();
      return kept;
    };
    layer.stepCount = replace(layer.stepCount, tf.add(layer.stepCount, 1));
    if (layer.history !== null && step.history !== null) {
      layer.history = replace(layer.history, step.history);
    }
    if (layer.momentum === null) return;
    const touched = layer.values.skipZeros ? tf.notEqual(step.gradient, 0) : null;
    layer.momentum = replaced(layer.momentum, encode(tf, layer.momentum, momentum, touched), replace);
  }

  /**
   * The core's equation, in which the ratio and the clipping are scalars of the device. Both are factors of its
   * numbers, so it is made for 1 and 1 and multiplied.
   */
  #equation(step: LayerStep, ratio: Tensor | null): DeviceEquation {
    const tf = this.#tf;
    const { values } = step.layer;
    const { learningRate, clipScale } = step;
    const scalars = { learningRate, gradientScale: 1, trustRatio: 1 };
    const equation = updateEquation(values, { ...scalars, isFirst: step.momentum === null });
    const isAfter = ruleOf(values.trustRatio).placement(values.trustRatio) === "after";
    const [inDirection, inStep] = isAfter ? [null, ratio] : [ratio, null];
    return {
      ...equation,
      gradientFactor: scaled(tf, scaled(tf, equation.gradientFactor, clipScale), inDirection),
      weightFactor: scaled(tf, equation.weightFactor, inDirection),
      stepSize: scaled(tf, equation.stepSize, inStep),
      accumulation: this.#accumulation(step, equation.accumulation),
    };
  }

  /** Without dampening on a layer's first step, which only the device knows. */
  #accumulation({ layer, momentum }: LayerStep, later: number): number | Tensor {
    const { values, stepCount } = layer;
    if (momentum === null || values.dampening === 0) return later;
    const tf = this.#tf;
    const { accumulation } = unscaledEquation(values, { gradientScale: 1, isFirst: true });
    return tf.where(tf.equal(stepCount, 0), tf.scalar(accumulation), tf.scalar(later));
  }

  /** m and u of an equation. */
  #evaluate(
    step: LayerStep,
    momentum: Tensor | null,
    equation: DeviceEquation,
  ): { momentum: Tensor; update: Tensor } {
    const tf = this.#tf;
    const { weights, gradient } = step;
    let direction = tf.mul(gradient, equation.gradientFactor);
    if (equation.weightFactor !== 0) {
      direction = tf.add(direction, tf.mul(weights, equation.weightFactor));
    }
    let next = direction;
    if (momentum !== null) {
      const factor =
        step.layer.values.dampening === 0
          ? equation.accumulation
          : this.#accumulation(step, 1 - step.layer.values.dampening);
      next = tf.add(
        tf.mul(momentum, equation.decay),
        factor === 1 ? direction : tf.mul(direction, factor),
      );
    }
    let update =
      equation.lookahead === 0 ? next : tf.add(direction, tf.mul(next, equation.lookahead));
    if (equation.skipZeros) {
      const isZero = tf.equal(gradient, 0);
      const zeros = tf.fill([gradient.size], 0);
      if (momentum !== null) next = tf.where(isZero, momentum, next);
      update = tf.where(isZero, zeros, update);
    }
    return { momentum: next, update };
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
      momentum: kind === "none" ? null : upload(tf, kind, slot.size, given),
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

function throws({ layer }: LayerStep): boolean {
  return layer.values.nonFinite === "throw";
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
    momentum: step === 0 ? null : download(momentum?.kind ?? "none", slot.size, rest),
    gradientHistory:
      norms === undefined || step === 0 ? null : Float64Array.from(norms, (norm) => norm ** 2),
  };
}

function replaced(
  before: DeviceMomentum,
  after: DeviceMomentum,
  replace: (before: Tensor, after: Tensor) => Tensor,
): DeviceMomentum {
  if (before.kind === "float32" && after.kind === "float32") {
    return { kind: "float32", values: replace(before.values, after.values) };
  }
  if (before.kind === "blockwise" && after.kind === "blockwise") {
    return {
      kind: "blockwise",
      codes: replace(before.codes, after.codes),
      absmax: replace(before.absmax, after.absmax),
    };
  }
  return after;
}

/** A product in which null is 1. */
function times(tf: TensorFlow, factor: Tensor | null, value: Tensor): Tensor {
  return factor === null ? value : tf.mul(factor, value);
}

function scaled(tf: TensorFlow, value: number | Tensor, factor: Tensor | null): number | Tensor {
  return factor === null || value === 0 ? value : tf.mul(value, factor);
}
