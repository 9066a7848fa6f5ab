/**
 * A step on webgl, webgpu, tfjs-node and any backend whose memory JavaScript can't reach. Norms, decisions and state
 * stay there; nothing is read back within a step.
 */
import { PERCENTILE_OFF } from "../../../decide/percentile-clipping.js";
import { ruleOf } from "../../../decide/trust-ratio.js";
import { referenceKernel } from "../../../kernels/reference.js";
import { rateAt } from "../../../options/learning-rate.js";
import type { Hyperparameters, LARSOptions } from "../../../options/options.js";
import type { LayerState, StateDict } from "../../../state/saved-state.js";
import { directionEquation, unscaledEquation, updateEquation } from "../../../step/equation.js";
import { momentumAs, wantedMomentum } from "../../../step/momentum.js";
import { hyperparametersOf } from "../options.js";
import type { CoreClass } from "../options.js";
import type { Slot, Stepper, VariableStep } from "../stepper.js";
import type { Tensor, TensorData, TensorFlow } from "../tensorflow.js";
import { webGLBackendOf } from "../webgl/backend.js";
import { WebGLPasses } from "../webgl/passes.js";
import { isWebGPUBackend } from "../webgpu/backend.js";
import { WebGPUPasses } from "../webgpu/passes.js";
import { clipToPercentile, emptyHistory, globalClipScales } from "./decide.js";
import type { StepNorms } from "./decide.js";
import { FiniteWatch } from "./finite-watch.js";
import { download, tensorsOf, upload } from "./momentum.js";
import type { DeviceMomentum } from "./momentum.js";
import { norm, TensorPasses } from "./passes.js";
import type { DevicePasses, LayerPasses } from "./passes.js";
import { DeviceScales, scaled } from "./scales.js";
import type { DeviceEquation } from "./scales.js";
import { StepCounts } from "./step-counts.js";

/** A variable's state; the tensors are kept until a step replaces them. */
interface DeviceLayer {
  readonly slot: Slot;
  readonly values: Hyperparameters;
  momentum: DeviceMomentum | null;
  /** [100] norms, once percentile clipping is on. */
  history: Tensor | null;
}

/** A layer on its way through a step. */
interface LayerStep {
  readonly layer: DeviceLayer;
  readonly learningRate: number;
  readonly passes: LayerPasses;
  /** Its scales; null: 1. */
  accumulationAt: number | null;
  clipAt: number | null;
  ratioAt: number | null;
  history: Tensor | null;
}

/** What a step has decided so far. */
interface Decisions {
  readonly scales: DeviceScales;
  /** What each layer has measured, and the norms of all. */
  readonly measured: readonly Tensor[];
  readonly norms: StepNorms;
}

export class DeviceStepper implements Stepper {
  readonly #tf: TensorFlow;
  readonly #Core: CoreClass;
  readonly #options: LARSOptions;
  readonly #layers = new Map<Slot, DeviceLayer>();
  readonly #counts: StepCounts;
  #stepCount = 0;
  readonly #watch: FiniteWatch;
  #passes: DevicePasses;

  constructor(tf: TensorFlow, Core: CoreClass, options: LARSOptions) {
    this.#tf = tf;
    this.#Core = Core;
    this.#options = options;
    this.#counts = new StepCounts(tf);
    this.#watch = new FiniteWatch(tf);
    this.#passes = passesOf(tf);
  }

  /** TensorFlow.js moves the state, which is tensors, as it moves the variables. */
  runsOn(): boolean {
    return true;
  }

  get stateBytes(): number {
    let elements = 0;
    for (const layer of this.#layers.values()) {
      for (const tensor of heldBy(layer)) elements += tensor.size;
    }
    return this.#counts.bytes + elements * Float32Array.BYTES_PER_ELEMENT;
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
      const decisions = this.#measureAll(begun);
      this.#clip(begun, decisions);
      this.#decideRatios(begun, decisions);
      for (const step of begun) this.#apply(step, decisions);
      this.#count(begun, decisions.norms.isFinite);
      this.#watch.note(
        begun.map(({ layer }) => (layer.values.nonFinite === "throw" ? layer.slot : null)),
        decisions.norms.finite,
      );
    });
    this.#stepCount++;
    this.#watch.read();
    return null;
  }

  #begin({ slot, variable, gradient }: VariableStep, lr: LARSOptions["lr"]): LayerStep {
    const layer = this.#layerOf(slot);
    return {
      layer,
      learningRate: rateAt(slot.options.lr ?? lr, this.#stepCount),
      passes: this.#passes.begin({ variable, gradient, momentum: layer.momentum }),
      ...{ accumulationAt: null, clipAt: null, ratioAt: null, history: null },
    };
  }

  #measureAll(steps: readonly LayerStep[]): Decisions {
    const scales = new DeviceScales(this.#tf);
    this.#scaleAccumulation(steps, scales);
    const measured = steps.map((step) => this.#measure(step, scales, !clips(step.layer.values)));
    return { scales, measured, norms: this.#passes.norms(measured) };
  }

  /** Without dampening on a layer's first step, which only the device knows. */
  #scaleAccumulation(steps: readonly LayerStep[], scales: DeviceScales): void {
    const tf = this.#tf;
    const dampened = steps.filter(
      ({ layer: { values, momentum } }) => momentum !== null && values.dampening !== 0,
    );
    if (dampened.length === 0) return;
    const counts = this.#counts.of(dampened.map(({ layer }) => layer.slot));
    const later = Float32Array.from(dampened, ({ layer }) => 1 - layer.values.dampening);
    const shape = [dampened.length];
    const start = scales.add(
      tf.where(tf.equal(counts, 0), tf.fill(shape, 1), tf.tensor(later, shape)),
    );
    dampened.forEach((step, index) => (step.accumulationAt = start + index));
  }

  /**
   * The norms that a layer's rule asks for.
   *
   * @param isLast false: clipping will change ‖u‖, which is left out
   */
  #measure(step: LayerStep, { values: scales }: DeviceScales, isLast: boolean): Tensor {
    const { values, momentum } = step.layer;
    const { weights, update } = ruleOf(values.trustRatio).measures(values.trustRatio);
    if (update === "nothing" || !isLast) {
      return step.passes.measure({ weights, update: null, momentum: false, scales });
    }
    const isDirection = update === "direction";
    const equation = isDirection
      ? directionEquation(values, { gradientScale: 1 })
      : unscaledEquation(values, { gradientScale: 1, isFirst: momentum === null });
    return step.passes.measure({
      weights,
      update: {
        ...equation,
        gradientFactor: scaled(equation.gradientFactor, step.clipAt),
        ...(isDirection ? {} : this.#accumulation(step, equation)),
      },
      momentum: !isDirection,
      scales,
    });
  }

  #clip(steps: readonly LayerStep[], { scales, norms }: Decisions): void {
    if (!steps.some(({ layer }) => clips(layer.values))) return;
    const tf = this.#tf;
    const own = steps.map((step, index) => this.#percentileScale(step, norms.gradient, index));
    let clip = own.every((scale) => scale === null)
      ? null
      : tf.stack(own.map((scale) => scale ?? tf.scalar(1)));
    const limits = steps.map(({ layer }) => layer.values.maxGradNorm);
    if (limits.some((limit) => limit !== null)) {
      const clipped = clip === null ? norms.gradient : tf.mul(clip, norms.gradient);
      const shared = globalClipScales(tf, norm(tf, clipped), limits);
      clip = clip === null ? shared : tf.mul(clip, shared);
    }
    if (clip === null) return;
    const start = scales.add(clip);
    steps.forEach((step, index) => {
      if (clips(step.layer.values)) step.clipAt = start + index;
    });
  }

  /** Percentile clipping of one layer, a scalar; null: none. */
  #percentileScale(step: LayerStep, gradients: Tensor, index: number): Tensor | null {
    const tf = this.#tf;
    const { slot, values, history } = step.layer;
    const { percentileClipping } = values;
    if (percentileClipping === PERCENTILE_OFF || history === null) return null;
    const gradient = tf.reshape(tf.slice(gradients, index, 1), []);
    const now = tf.add(this.#counts.of([slot]), 1);
    const clip = clipToPercentile(tf, history, now, gradient, percentileClipping);
    step.history = clip.history;
    return clip.scale;
  }

  /** The trust ratios, from norms after clipping. */
  #decideRatios(steps: readonly LayerStep[], decisions: Decisions): void {
    const { scales } = decisions;
    const quotients = steps.map(({ layer: { values }, learningRate }) => {
      const { trustRatio, weightDecay } = values;
      return ruleOf(trustRatio).quotient(trustRatio, { weightDecay, learningRate });
    });
    if (quotients.every((quotient) => quotient === null)) return;
    const { norms, clip } = this.#clippedNorms(steps, decisions);
    const start = scales.add(norms.ratios(quotients, clip));
    quotients.forEach((quotient, index) => {
      if (quotient !== null) steps[index]!.ratioAt = start + index;
    });
  }

  /** Norms to take ratios of, and what clips ‖g‖. Where clipping changes u, it is measured again. */
  #clippedNorms(
    steps: readonly LayerStep[],
    { scales, measured, norms }: Decisions,
  ): { norms: StepNorms; clip: Tensor | null } {
    const tf = this.#tf;
    if (steps.every(({ clipAt }) => clipAt === null)) return { norms, clip: null };
    const one = tf.scalar(1);
    const clip = tf.stack(
      steps.map(({ clipAt }) =>
        clipAt === null ? one : tf.reshape(tf.slice(scales.values!, clipAt, 1), []),
      ),
    );
    if (!steps.some(isMeasuredAgain)) return { norms, clip };
    const again = steps.map((step, index) =>
      isMeasuredAgain(step) ? this.#measure(step, scales, true) : measured[index]!,
    );
    return { norms: this.#passes.norms(again), clip };
  }

  /** Writes weights and momentum, unless a gradient of the step is not finite. */
  #apply(step: LayerStep, { scales, norms: { isFinite } }: Decisions): void {
    const { layer, passes } = step;
    const momentum = passes.apply(this.#equation(step), { scales: scales.values, isFinite });
    for (const tensor of tensorsOf(momentum)) this.#tf.keep(tensor);
    for (const tensor of tensorsOf(layer.momentum)) tensor.dispose();
    layer.momentum = momentum;
  }

  /** The rest of the layers' state: their step counts, and their histories. */
  #count(steps: readonly LayerStep[], isFinite: Tensor): void {
    const tf = this.#tf;
    this.#counts.advance(
      steps.map(({ layer }) => layer.slot),
      isFinite,
    );
    for (const { layer, history } of steps) {
      const before = layer.history;
      if (before === null || history === null) continue;
      layer.history = tf.keep(tf.where(isFinite, history, before));
      before.dispose();
    }
  }

  /**
   * The core's equation, in which the ratio and the clipping are scales of the device. Both are factors of its
   * numbers, so it is made for 1 and 1 and scaled.
   */
  #equation(step: LayerStep): DeviceEquation {
    const { layer, learningRate, clipAt, ratioAt } = step;
    const { values } = layer;
    const isFirst = layer.momentum === null;
    const equation = updateEquation(values, {
      ...{ learningRate, gradientScale: 1, trustRatio: 1, isFirst },
    });
    const isAfter = ruleOf(values.trustRatio).placement(values.trustRatio) === "after";
    const [inDirection, inStep] = isAfter ? [null, ratioAt] : [ratioAt, null];
    return {
      ...equation,
      gradientFactor: scaled(scaled(equation.gradientFactor, clipAt), inDirection),
      weightFactor: scaled(equation.weightFactor, inDirection),
      stepSize: scaled(equation.stepSize, inStep),
      ...this.#accumulation(step, equation),
    };
  }

  #accumulation(
    { accumulationAt }: LayerStep,
    { accumulation }: Pick<DeviceEquation, "accumulation">,
  ): Pick<DeviceEquation, "accumulation"> {
    return { accumulation: accumulationAt === null ? accumulation : scaled(1, accumulationAt) };
  }

  /** Codes in the backend's packing: it may have been changed between two steps. */
  #repack(layer: DeviceLayer): void {
    const { momentum, slot } = layer;
    const { packing } = this.#passes;
    if (momentum?.kind !== "blockwise" || momentum.packing === packing) return;
    const before = tensorsOf(momentum);
    const values = before.map((tensor) => tensor.dataSync());
    const moved = download(momentum, slot.size, values);
    layer.momentum = upload(this.#tf, moved, { packing, shape: slot.shape });
    for (const tensor of tensorsOf(layer.momentum)) this.#tf.keep(tensor);
    for (const tensor of before) tensor.dispose();
  }

  async state(): Promise<StateDict> {
    const layers = [...this.#layers.values()];
    // Clones: a step may replace what is being read, and TensorFlow.js then refuses to end the reading.
    const held = [this.#counts.all, ...layers.flatMap(heldBy)].map((tensor) =>
      this.#tf.keep(this.#tf.clone(tensor)),
    );
    const values = await Promise.all(held.map((tensor) => tensor.data()));
    for (const tensor of held) tensor.dispose();
    return this.#stateOf(layers, values);
  }

  stateSync(): StateDict {
    const layers = [...this.#layers.values()];
    const held = [this.#counts.all, ...layers.flatMap(heldBy)];
    return this.#stateOf(
      layers,
      held.map((tensor) => tensor.dataSync()),
    );
  }

  /** @param values of the step counts, and of what {@link heldBy} lists of each layer */
  #stateOf(layers: readonly DeviceLayer[], [counts, ...values]: readonly TensorData[]): StateDict {
    let end = 0;
    return {
      step: this.#stepCount,
      layers: layers.map((layer) => {
        const own = values.slice(end, (end += heldBy(layer).length));
        return downloaded(layer, this.#counts.read(counts ?? [], layer.slot), own);
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
    const given = momentumAs(kind, state.momentum, slot, referenceKernel);
    const { packing } = this.#passes;
    this.#counts.set(slot, state.step);
    const layer = {
      slot,
      values,
      momentum: given === null ? null : upload(tf, given, { packing, shape: slot.shape }),
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
    this.#counts.dispose();
    this.#watch.dispose();
  }

  #layerOf(slot: Slot): DeviceLayer {
    const layer = this.#layers.get(slot);
    if (layer === undefined) throw new Error(`variable ${slot.name} was not added`);
    return layer;
  }
}

/** Fused where the backend runs our shaders, else by its own operations. */
function passesOf(tf: TensorFlow): DevicePasses {
  const { backendName, backend } = tf.engine();
  if (isWebGPUBackend(backendName, backend)) return new WebGPUPasses(tf, backend);
  const webgl = webGLBackendOf(tf);
  return webgl === null ? new TensorPasses(tf) : new WebGLPasses(tf, webgl);
}

/** Whether the gradient may be clipped, which changes ‖u‖. */
function clips({ percentileClipping, maxGradNorm }: Hyperparameters): boolean {
  return percentileClipping !== PERCENTILE_OFF || maxGradNorm !== null;
}

/** Whether a layer's rule asks for ‖u‖, which clipping has changed. */
function isMeasuredAgain({ clipAt, layer: { values } }: LayerStep): boolean {
  return (
    clipAt !== null && ruleOf(values.trustRatio).measures(values.trustRatio).update !== "nothing"
  );
}

/** The tensors of a layer's state: the momentum's, then the history. */
function heldBy({ momentum, history }: DeviceLayer): Tensor[] {
  return [...tensorsOf(momentum), ...(history === null ? [] : [history])];
}

/** @param held the values of what {@link heldBy} lists */
function downloaded(
  { slot, momentum, history }: DeviceLayer,
  step: number,
  held: readonly TensorData[],
): LayerState {
  const norms = history === null ? undefined : held.at(-1);
  return {
    name: slot.name,
    shape: [...slot.shape],
    step,
    momentum: step === 0 || momentum === null ? null : download(momentum, slot.size, held),
    gradientHistory:
      norms === undefined || step === 0 ? null : Float64Array.from(norms, (norm) => norm ** 2),
  };
}
