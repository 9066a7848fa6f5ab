/**
 * The way in and out for arrays outside the kernels' memory: one chunk at a time is copied into a
 * slot that stays in the second-level cache, worked on, and copied back if it was written.
 */
import { CHUNK_SIZE } from "../kernel.js";
import type { Arena } from "./arena.js";

const SLOT_BYTES = CHUNK_SIZE * 4;

export class Slot {
  readonly #arena: Arena;
  readonly #address: number;

  constructor(arena: Arena) {
    const address = arena.allocate(SLOT_BYTES);
    if (address === null) throw new RangeError("no memory for the kernels' staging area");
    this.#arena = arena;
    this.#address = address;
  }

  /** The address at which elements [start, end) can be read: their own, or this slot's after a copy. */
  bring(array: Float32Array | Uint8Array, start: number, end: number): number {
    if (this.#arena.owns(array)) return array.byteOffset + start * array.BYTES_PER_ELEMENT;
    this.#view(array, end - start).set(array.subarray(start, end));
    return this.#address;
  }

  /** Copies elements [start, end) back to where {@link bring} took them from. */
  putBack(array: Float32Array | Uint8Array, start: number, end: number): void {
    if (!this.#arena.owns(array)) array.set(this.#view(array, end - start), start);
  }

  #view(array: Float32Array | Uint8Array, length: number): Float32Array | Uint8Array {
    return array instanceof Float32Array
      ? new Float32Array(this.#arena.buffer, this.#address, length)
      : new Uint8Array(this.#arena.buffer, this.#address, length);
  }
}
