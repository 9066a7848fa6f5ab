/**
 * Finds out, some steps later, whether a gradient was not finite. Flags are collected on the device and read
 * asynchronously; steps start one reading at a time.
 */
import { NonFiniteGradientError } from "../../../errors.js";
import type { Slot } from "../stepper.js";
import type { Tensor, TensorFlow } from "../tensorflow.js";
import { SlotRows } from "./slot-rows.js";
import type { HeldRows } from "./slot-rows.js";

export class FiniteWatch {
  readonly #tf: TensorFlow;
  /** 1 where all gradients since the last reading were finite. */
  #flags: SlotRows;
  readonly #readings = new Set<Promise<void>>();
  /** What readings have found, and nobody was told of yet. */
  #found: Slot[] = [];
  /** What they find while somebody waits, for each who does. */
  readonly #waiting = new Set<Slot[]>();
  /** Whether there were steps while a reading was under way. */
  #isLate = false;

  constructor(tf: TensorFlow) {
    this.#tf = tf;
    this.#flags = new SlotRows(tf, 1);
  }

  /** @throws NonFiniteGradientError once for what readings have found since the last one */
  throwIfBroken(): void {
    const [broken] = this.#found;
    if (broken === undefined) return;
    this.#found = [];
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

  /** Begins to read, or does so when the reading that is under way has ended. */
  read(): void {
    if (this.#flags.isEmpty) return;
    this.#isLate = this.#readings.size > 0;
    if (!this.#isLate) this.#take();
  }

  /**
   * Waits until the gradients of all steps so far are known to be finite or not.
   *
   * @throws NonFiniteGradientError for a gradient that was not finite, unless a step has reported it before
   */
  async settled(): Promise<void> {
    this.throwIfBroken();
    const found: Slot[] = [];
    this.#waiting.add(found);
    try {
      this.#take();
      await Promise.all(this.#readings);
    } finally {
      this.#waiting.delete(found);
    }
    const [broken] = found;
    if (broken === undefined) return;
    this.#found = this.#found.filter((slot) => !found.includes(slot));
    throw new NonFiniteGradientError(broken.name);
  }

  /** Forgets a variable that is no more. */
  delete(slot: Slot): void {
    this.#flags.delete(slot);
  }

  /** Forgets all steps so far. */
  reset(): void {
    this.#flags.dispose();
    // Readings that are under way look for the flags that they were of.
    this.#flags = new SlotRows(this.#tf, 1);
    this.#found = [];
  }

  /** Begins to read the flags, which begin anew. */
  #take(): void {
    const flags = this.#flags;
    const rows = flags.take();
    if (rows === null) return;
    const reading = this.#read(rows).then((broken) => {
      if (broken === null || this.#flags !== flags) return;
      this.#found.push(broken);
      for (const found of this.#waiting) found.push(broken);
    });
    this.#readings.add(reading);
    const ended = (): void => {
      this.#readings.delete(reading);
      if (this.#isLate) this.read();
    };
    // A reading that fails, fails for those who wait for it.
    reading.then(ended, ended);
  }

  async #read({ tensor, slots }: HeldRows): Promise<Slot | null> {
    try {
      const values = await tensor.data();
      return slots[values.findIndex((value) => value === 0)] ?? null;
    } finally {
      tensor.dispose();
    }
  }
}
