/** Rivals in turn: one burst of each, then the next round, so that a noisy moment meets all of them. */

export interface Contender {
  readonly name: string;
  /** Before each burst, untimed. */
  prepare?(): void | Promise<void>;
  step(): void | Promise<void>;
  /** Milliseconds of so many steps, from a rival that times itself, in another program. */
  burst?(steps: number): Promise<number>;
}

/** Milliseconds a step, one number a round. */
export type Samples = readonly number[];

export interface Spread {
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
}

/** Workers start while the event loop turns. */
export const WORKERS_START_MS = 300;

/** A burst of short steps lasts about so long: the clock and the caches settle. */
const BURST_MS = 4;
const MOST_STEPS = 4000;
const WARM_UP_MS = 60;
const LEAST_WARM_UP_STEPS = 3;

/** @returns the samples of each contender, in their order; samples of one round belong together */
export async function timeInTurn(
  contenders: readonly Contender[],
  rounds: number,
): Promise<Samples[]> {
  const bursts: number[] = [];
  for (const contender of contenders) bursts.push(await warmUp(contender));
  const samples = contenders.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [index, contender] of contenders.entries()) {
      await contender.prepare?.();
      const steps = bursts[index]!;
      // What a preparation leaves in the caches is not what a step leaves there.
      if (steps > 1) await timed(contender, 1);
      samples[index]!.push((await timed(contender, steps)) / steps);
    }
  }
  return samples;
}

/** @returns the steps of a burst */
async function warmUp(contender: Contender): Promise<number> {
  await contender.prepare?.();
  let [fastest, spent] = [Infinity, 0];
  for (let step = 0; step < LEAST_WARM_UP_STEPS || spent < WARM_UP_MS; step++) {
    const ms = await timed(contender, 1);
    fastest = Math.min(fastest, ms);
    spent += ms;
  }
  return Math.max(1, Math.min(MOST_STEPS, Math.round(BURST_MS / fastest)));
}

async function timed(contender: Contender, steps: number): Promise<number> {
  if (contender.burst !== undefined) return contender.burst(steps);
  const start = performance.now();
  for (let step = 0; step < steps; step++) {
    const pending = contender.step();
    if (pending !== undefined) await pending;
  }
  return performance.now() - start;
}

export function spreadOf(samples: Samples): Spread {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (share: number): number => {
    const position = share * (sorted.length - 1);
    const [below, above] = [sorted[Math.floor(position)]!, sorted[Math.ceil(position)]!];
    return below + (position % 1) * (above - below);
  };
  return { median: at(0.5), p10: at(0.1), p90: at(0.9) };
}

/** The spread of the ratios within each round: what both meet in a noisy moment cancels. */
export function ratioOf(samples: Samples, to: Samples): Spread {
  return spreadOf(samples.map((ms, round) => ms / to[round]!));
}
