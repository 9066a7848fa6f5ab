/**
 * What processes do together. Every process makes the same calls in the same order; each call blocks until its part is
 * done, and works in place.
 */

/** Arrays that can be sent. Best over shared memory: it never moves. */
export type NumberArray = Float32Array | Float64Array | Uint8Array | Int32Array | Uint32Array;

/** One array, or several that stand for one sequence of elements, one after the other. */
export type Sequence<Numbers extends NumberArray> = Numbers | readonly Numbers[];

/** The processes of a job, or the one process that runs alone. */
export interface Collective {
  /** Of this process, from 0. */
  readonly rank: number;
  /** Processes. */
  readonly size: number;
  /** Who carries the messages: "one process", "Open MPI 4.1.4". */
  readonly name: string;

  /** Waits until every process is here. */
  barrier(): void;

  /** Copies one process's values to all. */
  broadcast(values: Sequence<NumberArray>, root?: number): void;

  /**
   * Adds up values over all processes; every process gets the sums. The order is fixed: with a power of two of processes
   * it is the balanced binary tree over ranks, ((0 + 1) + (2 + 3)) + …
   */
  allReduce(values: Sequence<Float32Array>): void;

  /**
   * The same, but each process gets the sums of its own part only. What the other parts hold afterwards is undefined.
   *
   * @param counts elements of each process's part, by rank; together all elements
   */
  reduceScatter(values: Sequence<Float32Array>, counts: readonly number[]): void;

  /**
   * Gives every process all parts.
   *
   * @param values this process has filled its own part
   * @param counts elements of each process's part, by rank; together all elements
   */
  allGather(values: Sequence<NumberArray>, counts: readonly number[]): void;

  /**
   * Ends all processes with a message, which gets this process's rank, and an exit code other than 0; a process that
   * runs alone gets an error.
   */
  abort(message: string): never;

  /** Leaves the job. The last call. */
  finalize(): void;
}
