/** The held-out part of the training set, on which rates are chosen. */
import { Random, STREAMS } from "../random.js";
import { rowsUpTo } from "./dataset.js";

const PART = 1 / 10;
/** Small sets hold out more, up to a fifth: scores on few samples say little. */
const SMALL_PART = 1 / 5;
const FEWEST = 500;
/** With this many samples, an accuracy near 97 % has a standard error of a quarter of a point. */
const MOST = 5000;

/** Splits the rows of a training set, by a seed. */
export function heldOutRows(
  samples: number,
  seed: number,
): { training: Int32Array; heldOut: Int32Array } {
  const rows = rowsUpTo(samples);
  new Random(seed, STREAMS.heldOut).shuffle(rows);
  const count = heldOutCount(samples);
  return { training: rows.slice(count).sort(), heldOut: rows.slice(0, count).sort() };
}

/** How many samples are held out. */
export function heldOutCount(samples: number): number {
  const wanted = Math.max(samples * PART, Math.min(samples * SMALL_PART, FEWEST));
  return Math.min(MOST, Math.floor(wanted));
}
