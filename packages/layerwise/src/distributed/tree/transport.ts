/** Messages between processes, as an MPI library carries them. All calls block. */
import type { NumberArray } from "../collective.js";

export interface Transport {
  readonly rank: number;
  readonly size: number;
  readonly name: string;

  /**
   * Sends to one process and receives from one, which may be the same, at the same time. Arrays of no elements are
   * messages too.
   */
  exchange(
    sent: { readonly array: NumberArray; readonly to: number },
    received: { readonly array: NumberArray; readonly from: number },
  ): void;
  /** Copies root's array to all. */
  broadcast(array: NumberArray, root: number): void;
  /** Every process's part, of equal lengths, in the order of ranks. */
  allGather(part: NumberArray, all: NumberArray): void;
  /** Sums in the order that the library prefers. */
  allReduce(array: Float32Array): void;
  barrier(): void;
  abort(code: number): never;
  finalize(): void;
}
