/** How many steps each variable has made: in one tensor of the device, which alone knows the steps that were skipped. */
import type { Slot } from "../stepper.js";
import type { Tensor, TensorFlow } from "../tensorflow.js";

export class StepCounts {
  readonly #tf: TensorFlow;
  readonly #places = new Map<Slot, number>();
  /** [variables], without those that are new. */
  #counts: Tensor | null = null;
  #fresh: number[] = [];

  constructor(tf: TensorFlow) {
    this.#tf = tf;
  }

  /** Bytes on the device. */
  get bytes(): number {
    return this.#places.size * Float32Array.BYTES_PER_ELEMENT;
  }

  /** Of one variable, known or new. */
  set(slot: Slot, count: number): void {
    const place = this.#places.get(slot) ?? this.#places.size;
    this.#places.set(slot, place);
    const held = this.#counts;
    if (held === null || place >= held.size) {
      this.#fresh[place - (held?.size ?? 0)] = count;
      return;
    }
    this.#replace(() => {
      const others = Float32Array.from({ length: held.size }, (_, i) => (i === place ? 0 : 1));
      const here = others.map((other) => (1 - other) * count);
      const tf = this.#tf;
      return tf.add(tf.mul(held, tf.tensor(others, [held.size])), tf.tensor(here, [held.size]));
    });
  }

  /** [variables], in the order in which they were first set; it is kept until a step, or a variable, replaces it. */
  get all(): Tensor {
    const held = this.#counts;
    const fresh = Float32Array.from(this.#fresh);
    if (held !== null && fresh.length === 0) return held;
    this.#fresh = [];
    return this.#replace(() => {
      const tensor = this.#tf.tensor(fresh, [fresh.length]);
      return held === null ? tensor : this.#tf.concat([held, tensor]);
    });
  }

  /** [slots] */
  of(slots: readonly Slot[]): Tensor {
    const places = Int32Array.from(slots, (slot) => this.#places.get(slot)!);
    return this.#tf.gather(this.all, this.#tf.tensor(places, [places.length], "int32"));
  }

  /**
   * Within the tidy of a step.
   *
   * @param made a bool scalar: whether the variables have made it
   */
  advance(slots: readonly Slot[], made: Tensor): void {
    const tf = this.#tf;
    const { all } = this;
    const one = tf.cast(made, "float32");
    this.#replace(() => {
      if (slots.length === all.size) return tf.add(all, one);
      const takesPart = new Float32Array(all.size);
      for (const slot of slots) takesPart[this.#places.get(slot)!] = 1;
      return tf.add(all, tf.mul(tf.tensor(takesPart, [all.size]), one));
    });
  }

  #replace(make: () => Tensor): Tensor {
    const before = this.#counts;
    this.#tf.tidy(() => {
      this.#counts = this.#tf.keep(make());
    });
    before?.dispose();
    return this.#counts!;
  }

  /** From values of {@link all}. */
  read(values: ArrayLike<number>, slot: Slot): number {
    return values[this.#places.get(slot)!] ?? 0;
  }

  dispose(): void {
    this.#counts?.dispose();
    this.#counts = null;
    this.#places.clear();
    this.#fresh = [];
  }
}
