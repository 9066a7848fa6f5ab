/** Plays the schedules message by message, and compares the formulas with them. */
import { ALGORITHMS, allReduceTime } from "./exchange.js";
import type { Algorithm, Link } from "./exchange.js";

const LINK: Link = { latency: 3e-6, bandwidth: 5e9, addition: 7e9 };
/** Sums of float64 in another order. */
const ROUNDING = 1e-12;

/** @throws Error when a formula is off, or when one of another algorithm passes for it */
export function checkFormulas(): void {
  for (const processes of [2, 4, 8, 64]) {
    const bytes = processes * 2 ** 16;
    for (const played of ["ring", "halving and doubling"] as const) {
      const seconds = play(played, bytes, processes);
      for (const formula of ALGORITHMS.slice(0, 2)) {
        const off = Math.abs(allReduceTime(formula, { bytes, processes }, LINK) / seconds - 1);
        // Two processes do the same in both.
        const isExpected = formula === played || processes === 2;
        if (off < ROUNDING !== isExpected) {
          throw new Error(`${formula}: the formula is off by ${off} from ${played} as played`);
        }
      }
    }
  }
}

/** Every process in turn, one round after another; a round lasts as long as its longest message and sum. */
function play(algorithm: Algorithm, bytes: number, processes: number): number {
  // Which part, of as many as there are processes, holds how many terms on each process.
  const terms = Array.from({ length: processes }, () => new Array<number>(processes).fill(1));
  let seconds = 0;
  const round = (sends: readonly { to: number; parts: readonly number[] }[], adds: boolean) => {
    const before = terms.map((own) => [...own]);
    sends.forEach(({ to, parts }, from) => {
      for (const part of parts) {
        const carried = before[from]![part]!;
        terms[to]![part] = adds ? before[to]![part]! + carried : carried;
      }
    });
    const most = Math.max(...sends.map(({ parts }) => (parts.length * bytes) / processes));
    seconds += LINK.latency + most / LINK.bandwidth + (adds ? most / LINK.addition : 0);
  };
  const ranks = Array.from({ length: processes }, (_, rank) => rank);
  if (algorithm === "ring") {
    for (const adds of [true, false]) {
      for (let step = 0; step < processes - 1; step++) {
        const first = adds ? 0 : 1;
        round(
          ranks.map((rank) => ({
            to: (rank + 1) % processes,
            parts: [(rank + first - step + 2 * processes) % processes],
          })),
          adds,
        );
      }
    }
  } else {
    const like = (rank: number, modulus: number): number[] =>
      ranks.filter((part) => part % modulus === rank % modulus);
    for (let distance = 1; distance < processes; distance *= 2) {
      round(
        ranks.map((rank) => ({ to: rank ^ distance, parts: like(rank ^ distance, 2 * distance) })),
        true,
      );
    }
    for (let distance = processes / 2; distance >= 1; distance /= 2) {
      round(
        ranks.map((rank) => ({ to: rank ^ distance, parts: like(rank, 2 * distance) })),
        false,
      );
    }
  }
  if (terms.some((own) => own.some((count) => count !== processes))) {
    throw new Error(`${algorithm}, as played: a sum lacks terms`);
  }
  return seconds;
}
