/** The two passes of a step, measure and apply, on tensors of a device: by tensor operations here. */
import type { UpdateEquation } from "../../kernels/kernel.js";
import type { Tensor, TensorFlow } from "./tensorflow.js";

/** An equation whose factors may be scalars of the device. */
export type DeviceEquation = {
  readonly [Key in keyof UpdateEquation]: UpdateEquation[Key] extends number
    ? number | Tensor
    : UpdateEquation[Key];
};

/** A layer's tensors, flat. */
export interface FlatTensors {
  readonly weights: Tensor;
  readonly gradient: Tensor;
  /** Decoded; null without momentum. */
  readonly momentum: Tensor | null;
}

export interface NormsWanted {
  readonly weights: boolean;
  /** The equation whose u is wanted, or null. */
  readonly update: DeviceEquation | null;
}

/** Norms as scalars; null where not wanted. */
export interface Measured {
  readonly gradient: Tensor;
  /** bool: whether all elements of the gradient are. */
  readonly isFinite: Tensor;
  readonly weights: Tensor | null;
  readonly update: Tensor | null;
}

export interface Applied {
  readonly weights: Tensor;
  /** null without momentum */
  readonly momentum: Tensor | null;
}

export interface DevicePasses {
  measure(tensors: FlatTensors, wanted: NormsWanted): Measured;
  /** New weights and momentum as new tensors; the old values where `isFinite`, a bool scalar, is false. */
  apply(tensors: FlatTensors, equation: DeviceEquation, isFinite: Tensor): Applied;
}

export class TensorPasses implements DevicePasses {
  readonly #tf: TensorFlow;

  constructor(tf: TensorFlow) {
    this.#tf = tf;
  }

  measure(tensors: FlatTensors, { weights, update }: NormsWanted): Measured {
    const tf = this.#tf;
    return {
      gradient: norm(tf, tensors.gradient),
      isFinite: tf.all(tf.isFinite(tensors.gradient)),
      weights: weights ? norm(tf, tensors.weights) : null,
      update: update === null ? null : norm(tf, this.#evaluate(tensors, update).update),
    };
  }

  apply(tensors: FlatTensors, equation: DeviceEquation, isFinite: Tensor): Applied {
    const tf = this.#tf;
    const { weights, momentum } = tensors;
    const { next, update } = this.#evaluate(tensors, equation);
    const moved = tf.sub(weights, tf.mul(update, equation.stepSize));
    return {
      weights: tf.where(isFinite, moved, weights),
      momentum: momentum === null ? null : tf.where(isFinite, next, momentum),
    };
  }

  /** m' and u. */
  #evaluate(
    { weights, gradient, momentum }: FlatTensors,
    equation: DeviceEquation,
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
