/**
 * Finds out, some steps later, that a gradient was not finite. Flags are collected on the device, and read when
 * the event loop comes to it; steps begin one reading at a time.
 */
import { NonFiniteGradientError } from "../../../errors.js";
import type { Slot } from "../stepper.js";
import type { Tensor, TensorFlow } from "../tensorflow.js";
import { SlotRows } from "./slot-rows.js";

export class FiniteWatch {
  readonly #tf: TensorFlow;
  /** 1 where all gradients since the last reading were finite. */
  readonly #flags: SlotRows;
  /** The first variable that a reading has found, of the readings that nobody was told of yet. */
  #found: Promise<Slot | null> = Promise.resolve(null);
  /** The same, once it is known. */
  #broken: Slot | null = null;
  #isReading = false;

  constructor(tf: TensorFlow) {
    this.#tf = tf;
    this.#flags = new SlotRows(tf, 1);
  }

  /** @throws NonFiniteGradientError once for each gradient that a reading has found */
  throwIfBroken(): void {
    const broken = this.#broken;
    if (broken === null) return;
    this.#forget();
    throw new NonFiniteGradientError(broken.name);
  }

  /**
   * Within the tidy of a step.
   *
   * @param slots of the step's variables; null: not watched
   * @param flags [slots] 1, or 0 where a gradient was not finite
   */
  note(slots: readonly (Slot | null)[], flags: Tensor): void {
    const watched = slots.filter((slot) => slot !== null);
    if (watched.length === 0) return;
    const tf = this.#tf;
    let rows = tf.reshape(this.#ofWatched(slots, flags), [watched.length, 1]);
    if (!this.#flags.isEmpty) {
      for (const slot of watched) if (!this.#flags.has(slot)) this.#flags.set(slot, [1]);
      rows = tf.minimum(rows, this.#flags.of(watched));
    }
    this.#flags.put(watched, rows);
  }

  #ofWatched(slots: readonly (Slot | null)[], flags: Tensor): Tensor {
    const places = slots.flatMap((slot, index) => (slot === null ? [] : [index]));
    if (places.length === slots.length) return flags;
    return this.#tf.gather(
      flags,
      this.#tf.tensor(Int32Array.from(places), [places.length], "int32"),
    );
  }

  /** Begins to read, unless that is under way. */
  read(): void {
    if (this.#isReading || this.#flags.isEmpty) return;
    this.#isReading = true;
    const ended = (): void => {
      this.#isReading = false;
    };
    this.#take().then(ended, ended);
  }

  /**
   * Waits until it is known of all steps so far.
   *
   * @throws NonFiniteGradientError unless all gradients since the last such error were finite
   */
  async settled(): Promise<void> {
    this.throwIfBroken();
    const found = this.#take();
    const broken = await found;
    if (broken === null) return;
    if (this.#found === found) this.#forget();
    throw new NonFiniteGradientError(broken.name);
  }

  /** Forgets a variable that is no more. */
  delete(slot: Slot): void {
    this.#flags.delete(slot);
  }

  /** Forgets all steps so far. */
  reset(): void {
    this.#flags.dispose();
    this.#forget();
  }

  #forget(): void {
    this.#broken = null;
    this.#found = Promise.resolve(null);
  }

  /** Reads the flags, which begin anew. */
  #take(): Promise<Slot | null> {
    const earlier = this.#found;
    const found = Promise.all([earlier, this.#firstBroken()]).then(([first, second]) => {
      const broken = first ?? second;
      // Unless somebody was told, or another reading has begun, which will tell.
      if (this.#found === found) this.#broken = broken;
      return broken;
    });
    this.#found = found;
    // A reading that fails, fails for those who wait for it.
    found.catch(() => {
      if (this.#found === found) this.#forget();
    });
    return found;
  }

  async #firstBroken(): Promise<Slot | null> {
    const rows = this.#flags.take();
    if (rows === null) return null;
    const { tensor, slots } = rows;
    try {
      const values = await tensor.data();
      return slots[values.findIndex((value) => value === 0)] ?? null;
    } finally {
      tensor.dispose();
    }
  }
}
