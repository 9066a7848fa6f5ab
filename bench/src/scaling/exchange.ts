/**
 * How long it takes N processes to sum arrays, or to give each other their parts.
 *
 * A message of m bytes takes α + m/β: a latency, and a bandwidth that each process has in both directions at once, as
 * in Thakur, Rabenseifner, Gropp 2005 ("Optimization of Collective Communication Operations in MPICH", section 3).
 * Sums of received bytes are made after they came, at γ bytes a second.
 */

export interface Link {
  /** Seconds of a message without bytes. */
  readonly latency: number;
  /** Bytes a second, each way. */
  readonly bandwidth: number;
  /** Bytes of received float32 that a process adds in a second. */
  readonly addition: number;
}

export type Algorithm = "ring" | "halving and doubling" | "layerwise";
export const ALGORITHMS: readonly Algorithm[] = ["ring", "halving and doubling", "layerwise"];

/** layerwise sends blocks of so many bytes, and adds one before it sends the next. */
const BLOCK_BYTES = 2 ** 20;
/** Six float64 of each process: whether all make the same call. */
const CALL_BYTES = 6 * 8;

/** Seconds of an all-reduce of so many bytes. */
export function allReduceTime(
  algorithm: Algorithm,
  { bytes, processes }: { bytes: number; processes: number },
  link: Link,
): number {
  if (processes === 1) return 0;
  const { latency, bandwidth, addition } = link;
  // Every process sends, receives and adds what is not its own, and then receives the sums that are not its own:
  // the least that is possible (Patarasuk and Yuan 2009).
  const others = bytes * (1 - 1 / processes);
  const moved = (2 * others) / bandwidth + others / addition;
  switch (algorithm) {
    // Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations".
    case "ring":
      return 2 * (processes - 1) * latency + moved;
    // Rabenseifner's algorithm: Thakur, Rabenseifner, Gropp 2005, 4.5.
    case "halving and doubling":
      return 2 * Math.log2(processes) * latency + moved;
    case "layerwise":
      return (
        smallGatherTime(CALL_BYTES * processes, processes, link) +
        2 * blocksOf(bytes, processes) * latency +
        moved
      );
  }
}

/** Seconds until every process has a few bytes of all: recursive doubling (Thakur et al. 2005, 4.1). */
export function smallGatherTime(
  bytes: number,
  processes: number,
  { latency, bandwidth }: Link,
): number {
  return Math.ceil(Math.log2(processes)) * latency + (bytes * (1 - 1 / processes)) / bandwidth;
}

/** Messages of a recursive halving: half of the array, a quarter, …, each in blocks. */
function blocksOf(bytes: number, processes: number): number {
  let blocks = 0;
  for (let part = 2; part <= processes; part *= 2) blocks += Math.ceil(bytes / part / BLOCK_BYTES);
  return blocks;
}
