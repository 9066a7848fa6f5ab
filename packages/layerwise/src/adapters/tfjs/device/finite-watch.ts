/**
 * Finds out, some steps later, that a gradient was not finite. Flags are collected on the device, and read when
 * the event loop comes to it; one reading is under way at a time.
 */
import { NonFiniteGradientError } from "../../../errors.js";
import type { Slot } from "../stepper.js";
import type { Tensor, TensorFlow } from "../tensorflow.js";

export class FiniteWatch {
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

  /**
   * Within the tidy of a step.
   *
   * @param slots of the step's variables; null: not watched
   * @param flags [slots] 1, or 0 where a gradient was not finite
   */
  note(slots: readonly (Slot | null)[], flags: Tensor): void {
    for (const slot of slots) {
      if (slot !== null && !this.#slots.includes(slot)) this.#slots.push(slot);
    }
    if (this.#slots.length === 0) return;
    const tf = this.#tf;
    const current = this.#ofWatched(slots, flags);
    const before = this.#flags;
    this.#flags = tf.keep(before === null ? current : tf.minimum(current, this.#grown(before)));
    before?.dispose();
  }

  /** [watched]; in most steps they are the step's own. */
  #ofWatched(slots: readonly (Slot | null)[], flags: Tensor): Tensor {
    const watched = this.#slots;
    if (watched.length === slots.length && watched.every((slot, i) => slot === slots[i])) {
      return flags;
    }
    const tf = this.#tf;
    // Variables that are not in this step look up the 1 at the end.
    const indices = Int32Array.from(watched, (slot) => {
      const index = slots.indexOf(slot);
      return index < 0 ? slots.length : index;
    });
    return tf.gather(
      tf.concat([flags, tf.fill([1], 1)]),
      tf.tensor(indices, [indices.length], "int32"),
    );
  }

  /** Flags with places for slots that are new since. */
  #grown(flags: Tensor): Tensor {
    const missing = this.#slots.length - flags.size;
    return missing === 0 ? flags : this.#tf.pad(flags, [[0, missing]], 1);
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
