/** What a job of MPI measures, and what it finds. */

/** MPI libraries, as the tables name them. */
export type Library = "Open MPI" | "MPICH";

export interface JobTask {
  /** "sums": all-reduces of float32. "norms": the exchange of ResNet-50's norms. "steps": those of ResNet-50. */
  readonly kind: "sums" | "norms" | "steps";
  /** Elements of each array; for "norms", doubles of all processes together; for "steps", bits of the state. */
  readonly sizes: readonly number[];
  readonly rounds: number;
}

export interface JobRow {
  /** One of the task's. */
  readonly size: number;
  /** Milliseconds by round, of everyone who was timed. */
  readonly samples: Readonly<Record<string, readonly number[]>>;
  /** Of "steps": the most that a process holds. */
  readonly stateBytes?: Readonly<Record<string, number>>;
}

export interface JobOutcome {
  /** "Open MPI 4.1.4". */
  readonly library: string;
  readonly processes: number;
  readonly rows: readonly JobRow[];
}
