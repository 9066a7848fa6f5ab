/**
 * A step on webgl, webgpu, tfjs-node and any backend whose memory JavaScript can't reach. Norms, decisions and state
 * stay there; nothing is read back within a step.
 */
import { HISTORY_LENGTH, PERCENTILE_OFF } from "../../../decide/percentile-clipping.js";
import { ruleOf } from "../../../decide/trust-ratio.js";
import { referenceKernel } from "../../../kernels/reference.js";
import { rateAt } from "../../../options/learning-rate.js";
import type { LARSOptions } from "../../../options/options.js";
import type { Momentum } from "../../../state/momentum.js";
import type { StateDict } from "../../../state/saved-state.js";
import { directionEquation, unscaledEquation, updateEquation } from "../../../step/equation.js";
import { momentumAs, wantedMomentum } from "../../../step/momentum.js";
import type { InitialState, Slot, Stepper, VariableStep } from "../stepper.js";
import type { Tensor, TensorData, TensorFlow } from "../tensorflow.js";
import { webGLBackendOf } from "../webgl/backend.js";
import { WebGLPasses } from "../webgl/passes.js";
import { isWebGPUBackend } from "../webgpu/backend.js";
import { WebGPUPasses } from "../webgpu/passes.js";
import { clipToPercentiles, emptyHistory, globalClipScales, isEmptyHistory } from "./decide.js";
import type { StepNorms } from "./decide.js";
import type { FiniteWatch } from "./finite-watch.js";
import { download, tensorsOf, upload } from "./momentum.js";
import type { DeviceMomentum } from "./momentum.js";
import { norm, TensorPasses } from "./passes.js";
import type { DevicePasses, LayerPasses } from "./passes.js";
import { DeviceScales, scaled } from "./scales.js";
import type { DeviceEquation } from "./scales.js";
import { SlotRows } from "./slot-rows.js";
import type { HeldRows } from "./slot-rows.js";

/** A layer on its way through a step. */
interface LayerStep {
  readonly slot: Slot;
  readonly learningRate: number;
  readonly passes: LayerPasses;
  readonly momentum: DeviceMomentum | null;
  /** Its scales; null: 1. */
  accumulationAt: number | null;
  clipAt: number | null;
  ratioAt: number | null;
}

/** What a step has decided so far. */
interface Decisions {
  readonly scales: DeviceScales;
  /** What each layer has measured, and the norms of all. */
  readonly measured: readonly Tensor[];
  readonly norms: StepNorms;
  /** [layers]: what clipping multiplies each gradient by; null: 1. */
  clip: Tensor | null;
}

/** Histories of percentile clipping with this step's norms in them, to be kept if the step is made. */
interface NextHistories {
  readonly slots: readonly Slot[];
  readonly before: Tensor;
  readonly after: Tensor;
}

export class DeviceStepper implements Stepper {
  readonly #tf: TensorFlow;
  readonly #watch: FiniteWatch;
  /** The variables' momentum, in the order in which they were added; its tensors are kept until a step replaces them. */
  readonly #momenta = new Map<Slot, DeviceMomentum | null>();
  /** How many steps each variable has made: the device alone knows which were skipped. */
  readonly #counts: SlotRows;
  /** Norms of the last 100 steps of each variable that has percentile clipping. */
  readonly #histories: SlotRows;
  #stepCount = 0;
  #passes: DevicePasses;

  constructor(tf: TensorFlow, watch: FiniteWatch) {
    this.#tf = tf;
    this.#watch = watch;
    this.#counts = new SlotRows(tf, 1);
    this.#histories = new SlotRows(tf, HISTORY_LENGTH);
    this.#passes = passesOf(tf);
  }

  /** TensorFlow.js moves the state, which is tensors, as it moves the variables. */
  runsOn(): boolean {
    return true;
  }

  get stateBytes(): number {
    let elements = 0;
    for (const momentum of this.#momenta.values()) {
      for (const tensor of tensorsOf(momentum)) elements += tensor.size;
    }
    return this.#counts.bytes + this.#histories.bytes + elements * Float32Array.BYTES_PER_ELEMENT;
  }

  add(slots: readonly Slot[], { states, stepCount }: InitialState): void {
    this.#stepCount = stepCount;
    for (const slot of slots) {
      const state = states.get(slot);
      this.#momenta.set(slot, this.#uploaded(slot, state?.momentum ?? null));
      this.#counts.set(slot, [state?.step ?? 0]);
      if (slot.values.percentileClipping === PERCENTILE_OFF) continue;
      const history = state?.gradientHistory ?? null;
      this.#histories.set(
        slot,
        history === null ? emptyHistory() : Float32Array.from(history, Math.sqrt),
      );
    }
  }

  #uploaded({ shape, size, values }: Slot, saved: Momentum | null): DeviceMomentum | null {
    const kind = wantedMomentum(values, size);
    const given = momentumAs(kind, saved, { size }, referenceKernel);
    if (given === null) return null;
    const momentum = upload(this.#tf, given, { packing: this.#passes.packing, shape });
    for (const tensor of tensorsOf(momentum)) this.#tf.keep(tensor);
    return momentum;
  }

  remove(slots: readonly Slot[]): void {
    for (const slot of slots) {
      for (const tensor of tensorsOf(this.#momenta.get(slot) ?? null)) tensor.dispose();
      this.#momenta.delete(slot);
      this.#counts.delete(slot);
      this.#histories.delete(slot);
      this.#watch.delete(slot);
    }
  }

  step(steps: readonly VariableStep[], lr: LARSOptions["lr"]): null {
    const tf = this.#tf;
    this.#passes = passesOf(tf);
    for (const { slot } of steps) this.#repack(slot);
    tf.tidy(() => {
      const begun = steps.map((step) => this.#begin(step, lr));
      const decisions = this.#measureAll(begun);
      const histories = this.#clip(begun, decisions);
      this.#decideRatios(begun, decisions);
      for (const step of begun) this.#apply(step, decisions);
      this.#count(begun, histories, decisions.norms.isFinite);
      this.#watch.note(
        begun.map(({ slot }) => (slot.values.nonFinite === "throw" ? slot : null)),
        decisions.norms.finite,
      );
    });
    this.#stepCount++;
    return null;
  }

  #begin({ slot, gradient }: VariableStep, lr: LARSOptions["lr"]): LayerStep {
    const momentum = this.#momenta.get(slot) ?? null;
    return {
      ...{ slot, momentum },
      learningRate: rateAt(slot.options.lr ?? lr, this.#stepCount),
      passes: this.#passes.begin({ variable: slot.variable, gradient, momentum }),
      ...{ accumulationAt: null, clipAt: null, ratioAt: null },
    };
  }

  #measureAll(steps: readonly LayerStep[]): Decisions {
    const scales = new DeviceScales(this.#tf);
    this.#scaleAccumulation(steps, scales);
    const measured = steps.map((step) => this.#measure(step, scales, !clips(step.slot)));
    return { scales, measured, norms: this.#passes.norms(measured), clip: null };
  }

  /** Without dampening on a layer's first step, which only the device knows. */
  #scaleAccumulation(steps: readonly LayerStep[], scales: DeviceScales): void {
    const tf = this.#tf;
    const dampened = steps.filter(
      ({ slot, momentum }) => momentum !== null && slot.values.dampening !== 0,
    );
    if (dampened.length === 0) return;
    const shape = [dampened.length];
    const counts = tf.reshape(this.#counts.of(dampened.map(({ slot }) => slot)), shape);
    const later = Float32Array.from(dampened, ({ slot }) => 1 - slot.values.dampening);
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
    const { slot, momentum } = step;
    const { values } = slot;
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

  /** Percentile and global clipping. */
  #clip(steps: readonly LayerStep[], decisions: Decisions): NextHistories | null {
    if (!steps.some(({ slot }) => clips(slot))) return null;
    const tf = this.#tf;
    const { scales, norms } = decisions;
    const own = this.#clipToPercentiles(steps, norms.gradient);
    let clip = own?.scales ?? null;
    const limits = steps.map(({ slot }) => slot.values.maxGradNorm);
    if (limits.some((limit) => limit !== null)) {
      const clipped = clip === null ? norms.gradient : tf.mul(clip, norms.gradient);
      const shared = globalClipScales(tf, norm(tf, clipped), limits);
      clip = clip === null ? shared : tf.mul(clip, shared);
    }
    if (clip === null) return null;
    decisions.clip = clip;
    const start = scales.add(clip);
    steps.forEach((step, index) => {
      if (clips(step.slot)) step.clipAt = start + index;
    });
    return own?.histories ?? null;
  }

  /** @returns scales of all layers, 1 where a layer has no percentile clipping; null where none has */
  #clipToPercentiles(
    steps: readonly LayerStep[],
    gradients: Tensor,
  ): { scales: Tensor; histories: NextHistories } | null {
    const tf = this.#tf;
    const clipped = steps.flatMap(({ slot }, index) => (this.#histories.has(slot) ? [index] : []));
    if (clipped.length === 0) return null;
    const slots = clipped.map((index) => steps[index]!.slot);
    const isAll = slots.length === steps.length;
    const before = this.#histories.of(slots);
    const { scales, histories: after } = clipToPercentiles(tf, {
      histories: before,
      stepCounts: tf.add(this.#counts.of(slots), 1),
      gradients: isAll ? gradients : tf.gather(gradients, this.#indices(clipped)),
      percentiles: slots.map(({ values }) => values.percentileClipping),
    });
    const histories = { slots, before, after };
    if (isAll) return { scales, histories };
    // The others look up the 1 at the end.
    const places = steps.map((_, index) => {
      const place = clipped.indexOf(index);
      return place < 0 ? slots.length : place;
    });
    const all = tf.concat([scales, tf.fill([1], 1)]);
    return { scales: tf.gather(all, this.#indices(places)), histories };
  }

  #indices(places: readonly number[]): Tensor {
    return this.#tf.tensor(Int32Array.from(places), [places.length], "int32");
  }

  /** The trust ratios, from norms after clipping. */
  #decideRatios(steps: readonly LayerStep[], decisions: Decisions): void {
    const { scales } = decisions;
    const quotients = steps.map(({ slot: { values }, learningRate }) => {
      const { trustRatio, weightDecay } = values;
      return ruleOf(trustRatio).quotient(trustRatio, { weightDecay, learningRate });
    });
    if (quotients.every((quotient) => quotient === null)) return;
    const norms = this.#clippedNorms(steps, decisions);
    const start = scales.add(norms.ratios(quotients, decisions.clip));
    quotients.forEach((quotient, index) => {
      if (quotient !== null) steps[index]!.ratioAt = start + index;
    });
  }

  /** Norms to take ratios of, but for the clipping of ‖g‖. Where clipping changes u, it is measured again. */
  #clippedNorms(steps: readonly LayerStep[], { scales, measured, norms }: Decisions): StepNorms {
    if (!steps.some(isMeasuredAgain)) return norms;
    return this.#passes.norms(
      steps.map((step, index) =>
        isMeasuredAgain(step) ? this.#measure(step, scales, true) : measured[index]!,
      ),
    );
  }

  /** Writes weights and momentum, unless a gradient of the step is not finite. */
  #apply(step: LayerStep, { scales, norms: { isFinite } }: Decisions): void {
    const { slot, passes } = step;
    const momentum = passes.apply(this.#equation(step), { scales: scales.values, isFinite });
    for (const tensor of tensorsOf(momentum)) this.#tf.keep(tensor);
    for (const tensor of tensorsOf(step.momentum)) tensor.dispose();
    this.#momenta.set(slot, momentum);
  }

  /** The rest of the layers' state: their step counts, and their histories. */
  #count(steps: readonly LayerStep[], histories: NextHistories | null, isFinite: Tensor): void {
    const tf = this.#tf;
    const slots = steps.map(({ slot }) => slot);
    this.#counts.put(slots, tf.add(this.#counts.of(slots), tf.cast(isFinite, "float32")));
    if (histories === null) return;
    const { before, after } = histories;
    this.#histories.put(histories.slots, tf.where(isFinite, after, before));
  }

  /**
   * The core's equation, in which the ratio and the clipping are scales of the device. Both are factors of its
   * numbers, so it is made for 1 and 1 and scaled.
   */
  #equation(step: LayerStep): DeviceEquation {
    const { learningRate, clipAt, ratioAt } = step;
    const { values } = step.slot;
    const isFirst = step.momentum === null;
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
  #repack(slot: Slot): void {
    const momentum = this.#momenta.get(slot);
    const { packing } = this.#passes;
    if (momentum?.kind !== "blockwise" || momentum.packing === packing) return;
    const before = tensorsOf(momentum);
    const values = before.map((tensor) => tensor.dataSync());
    this.#momenta.set(slot, this.#uploaded(slot, download(momentum, slot.size, values)));
    for (const tensor of before) tensor.dispose();
  }

  async state(): Promise<StateDict> {
    const held = this.#held();
    // Clones: a step may replace what is being read, and TensorFlow.js then refuses to end the reading.
    const clones = tensorsIn(held).map((tensor) => this.#tf.keep(this.#tf.clone(tensor)));
    try {
      return stateOf(held, await Promise.all(clones.map((tensor) => tensor.data())));
    } finally {
      for (const tensor of clones) tensor.dispose();
    }
  }

  stateSync(): StateDict {
    const held = this.#held();
    return stateOf(
      held,
      tensorsIn(held).map((tensor) => tensor.dataSync()),
    );
  }

  /** What is held now; steps replace it. */
  #held(): HeldState {
    return {
      step: this.#stepCount,
      momenta: [...this.#momenta],
      counts: this.#counts.all,
      histories: this.#histories.all,
    };
  }

  dispose(): void {
    for (const momentum of this.#momenta.values()) {
      for (const tensor of tensorsOf(momentum)) tensor.dispose();
    }
    this.#momenta.clear();
    this.#counts.dispose();
    this.#histories.dispose();
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
function clips({ values }: Slot): boolean {
  return values.percentileClipping !== PERCENTILE_OFF || values.maxGradNorm !== null;
}

/** Whether a layer's rule asks for ‖u‖, which clipping has changed. */
function isMeasuredAgain({ clipAt, slot: { values } }: LayerStep): boolean {
  return (
    clipAt !== null && ruleOf(values.trustRatio).measures(values.trustRatio).update !== "nothing"
  );
}

/** The state of a moment, as tensors. */
interface HeldState {
  readonly step: number;
  readonly momenta: readonly (readonly [Slot, DeviceMomentum | null])[];
  readonly counts: HeldRows | null;
  readonly histories: HeldRows | null;
}

function tensorsIn({ momenta, counts, histories }: HeldState): Tensor[] {
  const rows = [counts, histories].flatMap((held) => (held === null ? [] : [held.tensor]));
  return [...rows, ...momenta.flatMap(([, momentum]) => tensorsOf(momentum))];
}

/** @param values of what {@link tensorsIn} lists */
function stateOf(
  { step, momenta, counts, histories }: HeldState,
  values: readonly TensorData[],
): StateDict {
  const rest = values.values();
  const next = (): TensorData => rest.next().value ?? new Float32Array(0);
  const [steps, norms] = [counts, histories].map((held) =>
    held === null ? null : rowsOf(held, next()),
  );
  return {
    step,
    layers: momenta.map(([slot, momentum]) => {
      const own = tensorsOf(momentum).map(next);
      const made = steps?.get(slot)?.[0] ?? 0;
      const history = norms?.get(slot);
      return {
        ...{ name: slot.name, shape: [...slot.shape], step: made },
        momentum: made === 0 || momentum === null ? null : download(momentum, slot.size, own),
        gradientHistory:
          history === undefined || made === 0 || isEmptyHistory(history)
            ? null
            : Float64Array.from(history, (norm) => norm ** 2),
      };
    }),
  };
}

/** Values of rows, by variable. */
function rowsOf({ tensor, slots }: HeldRows, values: TensorData): Map<Slot, TensorData> {
  const width = tensor.size / slots.length;
  return new Map(
    slots.map((slot, index) => [slot, values.subarray(index * width, (index + 1) * width)]),
  );
}
