/** The exchange of norms: each process has its part of them in float64, and gets all. */
import { timeTogether } from "./in-turn.js";
import type { Collective, Transport } from "./internals.js";
import type { JobRow } from "./task.js";

/** Names of who is timed; the topic reads the samples by them. */
export const [AGREED, MESSAGES] = ["collective", "MPI_Allgather"] as const;

export function timeNorms(
  { transport, collective }: { transport: Transport; collective: Collective },
  doubles: number,
  rounds: number,
): JobRow {
  const { rank, size } = transport;
  const share = doubles / size;
  if (!Number.isInteger(share)) {
    throw new Error(`norms: expected equal parts for ${size} processes, got ${doubles} doubles`);
  }
  const counts = new Array<number>(size).fill(share);
  const all = new Float64Array(doubles);
  const own = all.slice(0, share);
  const contenders = [
    {
      name: AGREED,
      step: () => {
        collective.allGather(all, counts);
      },
    },
    {
      name: MESSAGES,
      step: () => {
        transport.allGather(own, all);
      },
    },
  ];
  for (const { name, step } of contenders) {
    own.forEach((_, index) => (own[index] = 1 / (1 + rank * share + index)));
    all.fill(NaN).set(own, rank * share);
    step();
    const wrong = all.findIndex((value, index) => value !== 1 / (1 + index));
    if (wrong !== -1) throw new Error(`${name}: double ${wrong} of ${doubles} is wrong`);
  }
  return { size: doubles, samples: timeTogether(transport, contenders, rounds) };
}
