/** Numbers that the device decides, for all layers of a step in one tensor: shaders and operations look them up. */
import type { UpdateEquation } from "../../../kernels/kernel.js";
import type { Tensor, TensorFlow } from "../tensorflow.js";

/** A factor of an equation: a number, or one times some of the {@link DeviceScales}. */
export type DeviceFactor = number | { readonly times: number; readonly at: readonly number[] };

/** An equation whose factors the device may scale. */
export type DeviceEquation = {
  readonly [Key in keyof UpdateEquation]: UpdateEquation[Key] extends number
    ? DeviceFactor
    : UpdateEquation[Key];
};

export class DeviceScales {
  readonly #tf: TensorFlow;
  #values: Tensor | null = null;

  constructor(tf: TensorFlow) {
    this.#tf = tf;
  }

  /** [all numbers added so far]; null without any. */
  get values(): Tensor | null {
    return this.#values;
  }

  /** @returns where the first of the numbers is */
  add(numbers: Tensor): number {
    const before = this.#values;
    this.#values = before === null ? numbers : this.#tf.concat([before, numbers]);
    return before?.size ?? 0;
  }
}

/** A factor times one of the scales; null: as it is. */
export function scaled(factor: DeviceFactor, at: number | null): DeviceFactor {
  if (at === null || factor === 0) return factor;
  return typeof factor === "number"
    ? { times: factor, at: [at] }
    : { times: factor.times, at: [...factor.at, at] };
}
