/** What a job of MPI measures, and what it finds. */

/** MPI libraries, as the tables name them. */
export type Library = "Open MPI" | "MPICH";

export interface JobTask {
  /** "sums": all-reduces of float32. "norms": the exchange of ResNet-50's norms. */
  readonly kind: "sums" | "norms";
  /** Elements of each array; for "norms", doubles of all processes together. */
  readonly sizes: readonly number[];
  readonly rounds: number;
}

/** Milliseconds by round, of everyone who was timed with an array of one size. */
export interface JobRow {
  readonly size: number;
  readonly samples: Readonly<Record<string, readonly number[]>>;
}

export interface JobOutcome {
  /** "Open MPI 4.1.4". */
  readonly library: string;
  readonly processes: number;
  readonly rows: readonly JobRow[];
}
