/** The model of exchanges next to what the topic mpi has measured on this machine. */
import { describeMachine, folderName } from "../machine.js";
import { TREE } from "../mpi/sums.js";
import type { JobOutcome } from "../mpi/task.js";
import type { Table } from "../results.js";
import { number, readRaw } from "../results.js";
import { spreadOf } from "../timing.js";
import type { MpiRaw } from "../topics/mpi.js";
import { allReduceTime } from "./exchange.js";
import type { Link } from "./exchange.js";

interface Point {
  readonly bytes: number;
  readonly seconds: number;
}

/** null where nothing was measured. */
export function measuredTable(folder?: URL): Table | null {
  const { cores, processor } = describeMachine();
  const from =
    folder ?? new URL(`../../results/${folderName(describeMachine())}/`, import.meta.url);
  const sums = (readRaw("mpi", from) as readonly MpiRaw[]).flatMap((entry) =>
    entry.kind === "sums" ? [entry.outcome] : [],
  );
  const rows = sums
    .filter(({ processes }) => processes > 2)
    .flatMap((outcome) => {
      const pair = sums.find(
        ({ library, processes }) => library === outcome.library && processes === 2,
      );
      return pair === undefined ? [] : rowsOf(outcome, linkOf(pointsOf(pair)), cores);
    });
  if (rows.length === 0) return null;
  return {
    title: `What was measured: ${processor}, ${cores} cores`,
    notes: [
      `Latency and bandwidth are fitted to the all-reduces of 2 processes, and predict those of more. All are on one machine: N processes take turns on ${cores} cores, so that everything takes N/${cores} as long. One process exchanges nothing, in the model as in the library.`,
    ],
    head: ["library", "processes", "KiB", "model, ms", "measured, ms", "measured / model"],
    rows,
  };
}

function rowsOf({ library, processes, rows }: JobOutcome, link: Link, cores: number): string[][] {
  const turns = Math.max(1, processes / cores);
  return rows.map(({ size, samples }) => {
    const bytes = 4 * size;
    const model = turns * allReduceTime("layerwise", { bytes, processes }, link);
    const seconds = spreadOf(samples[TREE]!).median / 1000;
    return [
      ...[library, String(processes), (bytes / 1024).toFixed(0)],
      ...[number(1000 * model), number(1000 * seconds), number(seconds / model)],
    ];
  });
}

function pointsOf({ rows }: JobOutcome): Point[] {
  return rows.map(({ size, samples }) => ({
    bytes: 4 * size,
    seconds: spreadOf(samples[TREE]!).median / 1000,
  }));
}

/**
 * Latency and bandwidth with the least relative errors, in squares. Additions are part of the bandwidth: two processes
 * send, receive and add in a fixed proportion.
 */
function linkOf(points: readonly Point[]): Link {
  // Seconds are latency·messages + bytes/bandwidth; divided by the measured seconds, they shall be 1.
  let [mm, mb, bb, m1, b1] = [0, 0, 0, 0, 0];
  for (const { bytes, seconds } of points) {
    const of = (latency: number, bandwidth: number): number =>
      allReduceTime(
        "layerwise",
        { bytes, processes: 2 },
        { latency, bandwidth, addition: Infinity },
      ) / seconds;
    const [messages, moved] = [of(1, Infinity), of(0, 1)];
    mm += messages * messages;
    mb += messages * moved;
    bb += moved * moved;
    m1 += messages;
    b1 += moved;
  }
  const determinant = mm * bb - mb * mb;
  const latency = Math.max(0, (m1 * bb - b1 * mb) / determinant);
  // What latency leaves; where noise makes it negative, it is 0, and bandwidth explains everything.
  const secondsPerByte = (b1 - latency * mb) / bb;
  if (!(secondsPerByte > 0))
    throw new Error("measurements: large arrays are as fast as small ones");
  return { latency, bandwidth: 1 / secondsPerByte, addition: Infinity };
}
