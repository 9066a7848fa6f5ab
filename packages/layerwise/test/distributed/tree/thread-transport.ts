/** Messages between threads: a mailbox for each pair of ranks, in shared memory. */
import type { NumberArray } from "../../../src/distributed/collective.js";
import type { Transport } from "../../../src/distributed/tree/transport.js";

/** A message of more bytes travels in pieces. */
const PIECE_BYTES = 4096;
const HEAD_WORDS = 4;
const BOX_BYTES = HEAD_WORDS * 4 + PIECE_BYTES;
/** Words of the head: whether a piece is there, its bytes, and those of the whole message. */
const [FULL, BYTES, TOTAL] = [0, 1, 2];
const PATIENCE_MS = 60_000;

export function mailboxes(size: number): SharedArrayBuffer {
  return new SharedArrayBuffer(4 + 4 + size * size * BOX_BYTES);
}

function bytesOf({ buffer, byteOffset, byteLength }: NumberArray): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

export class ThreadTransport implements Transport {
  readonly name = "threads";
  readonly rank: number;
  readonly size: number;
  /** Messages that this thread has sent. */
  messages = 0;
  readonly #memory: SharedArrayBuffer;
  /** Counts what happens; whether the job has been ended. */
  readonly #signal: Int32Array;

  constructor(memory: SharedArrayBuffer, { rank, size }: { rank: number; size: number }) {
    this.#memory = memory;
    this.#signal = new Int32Array(memory, 0, 2);
    this.rank = rank;
    this.size = size;
  }

  exchange(
    sent: { readonly array: NumberArray; readonly to: number },
    received: { readonly array: NumberArray; readonly from: number },
  ): void {
    this.messages++;
    const [out, into] = [bytesOf(sent.array), bytesOf(received.array)];
    const [outBox, inBox] = [this.#box(this.rank, sent.to), this.#box(received.from, this.rank)];
    let [outAt, inAt] = [-1, -1];
    const end = Date.now() + PATIENCE_MS;
    while (outAt < out.length || inAt < into.length) {
      const signal = Atomics.load(this.#signal, 0);
      let moved = false;
      if (outAt < out.length && Atomics.load(outBox.head, FULL) === 0) {
        const from = Math.max(outAt, 0);
        const piece = out.subarray(from, from + PIECE_BYTES);
        outBox.bytes.set(piece);
        outBox.head[BYTES] = piece.length;
        outBox.head[TOTAL] = out.length;
        Atomics.store(outBox.head, FULL, 1);
        outAt = from + piece.length;
        moved = true;
      }
      if (inAt < into.length && Atomics.load(inBox.head, FULL) === 1) {
        if (inBox.head[TOTAL] !== into.length) {
          throw new Error(`expected ${into.length} bytes, got ${inBox.head[TOTAL]!}`);
        }
        const from = Math.max(inAt, 0);
        into.set(inBox.bytes.subarray(0, inBox.head[BYTES]), from);
        inAt = from + inBox.head[BYTES]!;
        Atomics.store(inBox.head, FULL, 0);
        moved = true;
      }
      if (moved) {
        Atomics.add(this.#signal, 0, 1);
        Atomics.notify(this.#signal, 0);
        continue;
      }
      if (Atomics.load(this.#signal, 1) === 1) throw new Error("aborted by another rank");
      if (Date.now() > end) throw new Error(`rank ${this.rank} waits for a message`);
      Atomics.wait(this.#signal, 0, signal, 100);
    }
  }

  broadcast(array: NumberArray, root: number): void {
    const none = new Uint8Array();
    for (let rank = 0; rank < this.size; rank++) {
      if (rank === root) continue;
      if (this.rank === root) this.exchange({ array, to: rank }, { array: none, from: rank });
      if (this.rank === rank) this.exchange({ array: none, to: root }, { array, from: root });
    }
  }

  allGather(part: NumberArray, all: NumberArray): void {
    all.set(part, this.rank * part.length);
    for (let other = 0; other < this.size; other++) {
      this.broadcast(all.subarray(other * part.length, (other + 1) * part.length), other);
    }
  }

  /** From the last rank to the first: another order than the tree's. */
  allReduce(array: Float32Array): void {
    const all = new Float32Array(this.size * array.length);
    this.allGather(array, all);
    array.fill(-0);
    for (let rank = this.size - 1; rank >= 0; rank--) {
      for (let i = 0; i < array.length; i++) array[i]! += all[rank * array.length + i]!;
    }
  }

  barrier(): void {
    this.allGather(new Uint8Array(1), new Uint8Array(this.size));
  }

  abort(code: number): never {
    Atomics.store(this.#signal, 1, 1);
    throw new Error(`aborted with code ${code}`);
  }

  finalize(): void {
    this.barrier();
  }

  #box(from: number, to: number): { head: Int32Array; bytes: Uint8Array } {
    const at = 8 + (from * this.size + to) * BOX_BYTES;
    return {
      head: new Int32Array(this.#memory, at, HEAD_WORDS),
      bytes: new Uint8Array(this.#memory, at + HEAD_WORDS * 4, PIECE_BYTES),
    };
  }
}
