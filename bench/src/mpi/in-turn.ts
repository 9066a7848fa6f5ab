/** Rounds in which all processes of a job do the same: rank 0 decides how many steps a burst has. */
import type { Transport } from "./internals.js";

export interface Contender {
  readonly name: string;
  /** Before each burst, untimed. */
  readonly prepare?: () => void;
  readonly step: () => void;
}

/** Long against a barrier, which takes microseconds. */
const BURST_MS = 4;
const MOST_STEPS = 4000;
const WARM_UP_MS = 60;

/** @returns milliseconds of a step by contender, one number a round; those of rank 0 */
export function timeTogether(
  transport: Transport,
  contenders: readonly Contender[],
  rounds: number,
): Record<string, number[]> {
  const bursts = contenders.map((contender) => burstOf(transport, contender));
  const samples: Record<string, number[]> = {};
  for (let round = 0; round < rounds; round++) {
    for (const [index, contender] of contenders.entries()) {
      contender.prepare?.();
      const steps = bursts[index]!;
      (samples[contender.name] ??= []).push(timed(transport, contender, steps) / steps);
    }
  }
  return samples;
}

/** Warms up with more and more steps, until code is compiled and a burst is long enough. */
function burstOf(transport: Transport, contender: Contender): number {
  const ms = new Float64Array(1);
  for (let steps = 1; ; steps *= 2) {
    contender.prepare?.();
    ms[0] = timed(transport, contender, steps);
    transport.broadcast(ms, 0);
    if (ms[0] >= WARM_UP_MS) {
      return Math.max(1, Math.min(MOST_STEPS, Math.round((BURST_MS * steps) / ms[0])));
    }
  }
}

/** From when all are here until all are done. */
function timed(transport: Transport, { step }: Contender, steps: number): number {
  transport.barrier();
  const start = performance.now();
  for (let count = 0; count < steps; count++) step();
  transport.barrier();
  return performance.now() - start;
}
