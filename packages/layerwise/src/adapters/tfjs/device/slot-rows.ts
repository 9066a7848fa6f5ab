/** Numbers of each variable in one tensor of the device, a row for each: what is decided for all of them at once. */
import type { Slot } from "../stepper.js";
import type { Tensor, TensorFlow } from "../tensorflow.js";

/** Rows as the device has them. */
export interface HeldRows {
  /** [slots, width] */
  readonly tensor: Tensor;
  readonly slots: readonly Slot[];
}

export class SlotRows {
  readonly #tf: TensorFlow;
  readonly #width: number;
  /** The variables, in the order in which they were first set. */
  readonly #slots = new Set<Slot>();
  /** Rows that are still on the host. */
  readonly #pending = new Map<Slot, ArrayLike<number>>();
  #held: HeldRows | null = null;

  /** @param width numbers of a row */
  constructor(tf: TensorFlow, width: number) {
    this.#tf = tf;
    this.#width = width;
  }

  /** Bytes on the device. */
  get bytes(): number {
    return this.#slots.size * this.#width * Float32Array.BYTES_PER_ELEMENT;
  }

  get isEmpty(): boolean {
    return this.#slots.size === 0;
  }

  has(slot: Slot): boolean {
    return this.#slots.has(slot);
  }

  /** Sets a row from the host. */
  set(slot: Slot, row: ArrayLike<number>): void {
    this.#slots.add(slot);
    this.#pending.set(slot, row);
  }

  delete(slot: Slot): void {
    this.#slots.delete(slot);
    this.#pending.delete(slot);
    if (this.isEmpty) this.dispose();
  }

  /** All rows; the tensor is kept until a row changes. null without any. */
  get all(): HeldRows | null {
    const held = this.#held;
    const isCurrent = (held?.slots.length ?? 0) === this.#slots.size;
    if (this.#pending.size === 0 && isCurrent) return held;
    const slots = [...this.#slots];
    const fresh = [...this.#pending];
    this.#pending.clear();
    this.#tf.tidy(() => {
      const { tensor, places } = this.#joined(
        held,
        fresh.length === 0 ? null : this.#uploaded(fresh),
        fresh.map(([slot]) => slot),
      );
      this.#hold(this.#gathered(tensor, places, slots), slots);
    });
    return this.#held;
  }

  /** [slots, width] of variables that have rows. */
  of(slots: readonly Slot[]): Tensor {
    const { tensor, slots: held } = this.all!;
    return isSame(held, slots) ? tensor : this.#gathered(tensor, placesOf(held), slots);
  }

  /**
   * Replaces or adds rows. Within the tidy of a step.
   *
   * @param rows [slots, width]
   */
  put(slots: readonly Slot[], rows: Tensor): void {
    const held = this.all;
    if (held !== null && isSame(held.slots, slots)) {
      this.#hold(rows, held.slots);
      return;
    }
    const { tensor, places } = this.#joined(held, rows, slots);
    for (const slot of slots) this.#slots.add(slot);
    const all = [...this.#slots];
    this.#hold(this.#gathered(tensor, places, all), all);
  }

  /** Hands the rows over to the caller, who disposes of the tensor, and begins anew. */
  take(): HeldRows | null {
    const held = this.all;
    this.#held = null;
    this.dispose();
    return held;
  }

  dispose(): void {
    this.#slots.clear();
    this.#pending.clear();
    this.#held?.tensor.dispose();
    this.#held = null;
  }

  /** Some rows under others, and where each variable's is: the lower one, if there are two. */
  #joined(
    held: HeldRows | null,
    rows: Tensor | null,
    slots: readonly Slot[],
  ): { tensor: Tensor; places: ReadonlyMap<Slot, number> } {
    if (rows === null) return { tensor: held!.tensor, places: placesOf(held!.slots) };
    const replacesAll = held === null || isSame(held.slots, slots);
    const tensor = replacesAll ? rows : this.#tf.concat([held.tensor, rows], 0);
    return { tensor, places: placesOf(replacesAll ? slots : [...held.slots, ...slots]) };
  }

  #uploaded(rows: readonly (readonly [Slot, ArrayLike<number>])[]): Tensor {
    const values = new Float32Array(rows.length * this.#width);
    rows.forEach(([, row], index) => {
      values.set(row, index * this.#width);
    });
    return this.#tf.tensor(values, [rows.length, this.#width]);
  }

  #gathered(tensor: Tensor, places: ReadonlyMap<Slot, number>, slots: readonly Slot[]): Tensor {
    const indices = Int32Array.from(slots, (slot) => places.get(slot)!);
    const isAll = tensor.shape[0] === indices.length && indices.every((place, i) => place === i);
    return isAll
      ? tensor
      : this.#tf.gather(tensor, this.#tf.tensor(indices, [indices.length], "int32"));
  }

  #hold(tensor: Tensor, slots: readonly Slot[]): void {
    const before = this.#held?.tensor;
    this.#held = { tensor: this.#tf.keep(tensor), slots };
    if (before !== tensor) before?.dispose();
  }
}

function placesOf(slots: readonly Slot[]): Map<Slot, number> {
  return new Map(slots.map((slot, index) => [slot, index]));
}

function isSame(some: readonly Slot[], others: readonly Slot[]): boolean {
  return some.length === others.length && some.every((slot, index) => slot === others[index]);
}
