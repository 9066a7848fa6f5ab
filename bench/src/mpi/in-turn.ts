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
const WARM_UP_STEPS = 5;

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

function burstOf(transport: Transport, contender: Contender): number {
  contender.prepare?.();
  let fastest = Infinity;
  for (let step = 0; step < WARM_UP_STEPS; step++) {
    fastest = Math.min(fastest, timed(transport, contender, 1));
  }
  const steps = new Float64Array([Math.min(MOST_STEPS, Math.max(1, BURST_MS / fastest))]);
  transport.broadcast(steps, 0);
  return Math.round(steps[0]!);
}

/** From when all are here until all are done. */
function timed(transport: Transport, { step }: Contender, steps: number): number {
  transport.barrier();
  const start = performance.now();
  for (let count = 0; count < steps; count++) step();
  transport.barrier();
  return performance.now() - start;
}
