/** The two passes of a step, measure and apply, on tensors of a device: by tensor operations here. */
import type { Tensor, TensorFlow, Variable } from "../tensorflow.js";
import { TensorNorms } from "./decide.js";
import type { StepNorms } from "./decide.js";
import { decode, encode, PACKED_IN_THREES } from "./momentum.js";
import type { DeviceMomentum, Packing } from "./momentum.js";
import type { DeviceEquation, DeviceFactor } from "./scales.js";

/** What a layer's step reads and writes. */
export interface LayerTensors {
  readonly variable: Variable;
  readonly gradient: Tensor;
  /** null without momentum */
  readonly momentum: DeviceMomentum | null;
}

export interface NormsWanted {
  readonly weights: boolean;
  /** The equation whose u is wanted, or null. */
  readonly update: DeviceEquation | null;
  /** Whether u has the stored momentum in it. */
  readonly momentum: boolean;
  /** What the equation's factors look up. */
  readonly scales: Tensor | null;
}

/** What applying has to know beside the equation. */
export interface Decided {
  /** What the equation's factors look up. */
  readonly scales: Tensor | null;
  /** A bool scalar: where it is false, nothing is written. */
  readonly isFinite: Tensor;
}

/** The passes over one layer. */
export interface LayerPasses {
  /** For {@link DevicePasses.norms}. */
  measure(wanted: NormsWanted): Tensor;
  /**
   * Writes the variable.
   *
   * @returns the momentum that takes the place of the given one, whose tensors must not be read any more
   */
  apply(equation: DeviceEquation, decided: Decided): DeviceMomentum | null;
}

/** The passes of one step. */
export interface DevicePasses {
  /** How 8-bit codes must be stored. */
  readonly packing: Packing;
  begin(tensors: LayerTensors): LayerPasses;
  /** Norms of what layers have measured. */
  norms(measured: readonly Tensor[]): StepNorms;
}

export class TensorPasses implements DevicePasses {
  readonly packing = PACKED_IN_THREES;
  readonly #tf: TensorFlow;

  constructor(tf: TensorFlow) {
    this.#tf = tf;
  }

  begin(tensors: LayerTensors): LayerPasses {
    return new TensorLayerPasses(this.#tf, tensors);
  }

  norms(measured: readonly Tensor[]): StepNorms {
    return new TensorNorms(this.#tf, measured);
  }
}

/** A layer's tensors, flat. */
interface FlatTensors {
  readonly weights: Tensor;
  readonly gradient: Tensor;
  /** Decoded; null without momentum, or where it is not looked at. */
  readonly momentum: Tensor | null;
}

/** An equation whose factors may be scalars of the device. */
type ScaledEquation = {
  readonly [Key in keyof DeviceEquation]: DeviceEquation[Key] extends DeviceFactor
    ? number | Tensor
    : DeviceEquation[Key];
};

class TensorLayerPasses implements LayerPasses {
  readonly #tf: TensorFlow;
  readonly #tensors: LayerTensors;
  readonly #flat: FlatTensors;

  constructor(tf: TensorFlow, tensors: LayerTensors) {
    this.#tf = tf;
    this.#tensors = tensors;
    const { variable, gradient, momentum } = tensors;
    const { size } = gradient;
    this.#flat = {
      weights: tf.reshape(variable, [size]),
      gradient: tf.reshape(gradient, [size]),
      momentum: momentum === null ? null : decode(tf, momentum, size),
    };
  }

  measure({ weights, update, momentum, scales }: NormsWanted): Tensor {
    const tf = this.#tf;
    const flat = momentum ? this.#flat : { ...this.#flat, momentum: null };
    const zero = tf.scalar(0);
    return tf.stack([
      norm(tf, flat.gradient),
      weights ? norm(tf, flat.weights) : zero,
      update === null ? zero : norm(tf, this.#evaluate(flat, this.#looked(update, scales)).update),
      tf.cast(tf.all(tf.isFinite(flat.gradient)), "float32"),
    ]);
  }

  apply(equation: DeviceEquation, { scales, isFinite }: Decided): DeviceMomentum | null {
    const tf = this.#tf;
    const { variable } = this.#tensors;
    const { weights } = this.#flat;
    const factors = this.#looked(equation, scales);
    const { next, update } = this.#evaluate(this.#flat, factors);
    const moved = tf.sub(weights, tf.mul(update, factors.stepSize));
    variable.assign(tf.reshape(tf.where(isFinite, moved, weights), [...variable.shape]));
    return this.#encoded(next, equation, isFinite);
  }

  /** An equation with its scales. */
  #looked(equation: DeviceEquation, scales: Tensor | null): ScaledEquation {
    const tf = this.#tf;
    const known = new Map<number, Tensor>();
    const scaleAt = (at: number): Tensor => {
      const scale = known.get(at) ?? tf.reshape(tf.slice(scales!, at, 1), []);
      known.set(at, scale);
      return scale;
    };
    const looked = (factor: DeviceFactor): number | Tensor =>
      typeof factor === "number"
        ? factor
        : factor.at.reduce<number | Tensor>((x, at) => tf.mul(x, scaleAt(at)), factor.times);
    const { gradientFactor, weightFactor, decay, accumulation, lookahead, stepSize } = equation;
    return {
      gradientFactor: looked(gradientFactor),
      weightFactor: looked(weightFactor),
      decay: looked(decay),
      accumulation: looked(accumulation),
      lookahead: looked(lookahead),
      stepSize: looked(stepSize),
      skipZeros: equation.skipZeros,
    };
  }

  #encoded(next: Tensor, { skipZeros }: DeviceEquation, isFinite: Tensor): DeviceMomentum | null {
    const tf = this.#tf;
    const { momentum: before } = this.#tensors;
    if (before === null) return null;
    const either = (after: Tensor, old: Tensor): Tensor => tf.where(isFinite, after, old);
    if (before.kind === "float32") {
      const { values } = before;
      return { ...before, values: either(tf.reshape(next, [...values.shape]), values) };
    }
    const touched = skipZeros ? tf.notEqual(this.#flat.gradient, 0) : null;
    // Not the values: those that were left as they were have other codes when they are encoded again.
    const { codes, absmax } = encode(tf, before, next, touched);
    return {
      ...before,
      codes: either(codes, before.codes),
      absmax: either(absmax, before.absmax),
    };
  }

  /** m' and u. */
  #evaluate(
    { weights, gradient, momentum }: FlatTensors,
    equation: ScaledEquation,
  ): { next: Tensor; update: Tensor } {
    const tf = this.#tf;
    let direction = tf.mul(gradient, equation.gradientFactor);
    if (equation.weightFactor !== 0) {
      direction = tf.add(direction, tf.mul(weights, equation.weightFactor));
    }
    let next = direction;
    if (momentum !== null) {
      const { accumulation } = equation;
      const added = accumulation === 1 ? direction : tf.mul(direction, accumulation);
      next = tf.add(tf.mul(momentum, equation.decay), added);
    }
    let update =
      equation.lookahead === 0 ? next : tf.add(direction, tf.mul(next, equation.lookahead));
    if (equation.skipZeros) {
      const isZero = tf.equal(gradient, 0);
      if (momentum !== null) next = tf.where(isZero, momentum, next);
      update = tf.where(isZero, tf.fill([gradient.size], 0), update);
    }
    return { next, update };
  }
}

/**
 * The Euclidean norm, as a scalar. Divided by the largest magnitude first: squares of float32 numbers leave
 * float32's range from 1e19 on, and below 1e-23.
 */
export function norm(tf: TensorFlow, x: Tensor): Tensor {
  const largest = tf.max(tf.abs(x));
  const scale = tf.where(tf.greater(largest, 0), largest, tf.scalar(1));
  return tf.mul(scale, tf.sqrt(tf.sum(tf.square(tf.div(x, scale)))));
}
