/** Sums of float32 over all processes: the fixed order, the library's, and a copy of as many bytes. */
import { Parameter } from "layerwise";
import { fillNormal } from "../random.js";
import { timeTogether } from "./in-turn.js";
import type { Contender } from "./in-turn.js";
import type { Collective, Transport } from "./internals.js";
import type { JobRow } from "./task.js";

interface Job {
  readonly transport: Transport;
  readonly collective: Collective;
}

/** Names of who is timed; the topic reads the samples by them. */
export const [TREE, LIBRARY, MEMCPY] = ["tree", "MPI_Allreduce", "memcpy"] as const;

/** Sums of N terms in any order differ by at most so many roundings of the largest partial sum. */
const ROUNDING = 2 ** -24;

export function timeSums(job: Job, size: number, rounds: number): JobRow {
  const { transport, collective } = job;
  // In the kernels' memory, as gradients are.
  const parameter = Parameter.allocate([size]);
  const values = parameter.data;
  const [source, target] = [new Float32Array(size).fill(1), new Float32Array(size)];
  // Sums double with every step, up to Infinity, which takes no longer to add; denormals would.
  const prepare = (): void => {
    values.fill(1);
  };
  const reductions: Contender[] = [
    {
      name: TREE,
      prepare,
      step: () => {
        collective.allReduce(values);
      },
    },
    {
      name: LIBRARY,
      prepare,
      step: () => {
        transport.allReduce(values);
      },
    },
  ];
  for (const { name, step } of reductions) check(job, values, { name, step });
  const copy = {
    name: MEMCPY,
    step: () => {
      target.set(source);
    },
  };
  copy.step();
  if (target.some((value) => value !== 1)) throw new Error("memcpy does not copy");
  const samples = timeTogether(transport, [...reductions, copy], rounds);
  parameter.dispose();
  return { size, samples };
}

/** @throws Error when sums are off, or when a wrong one passes as right */
function check({ transport }: Job, values: Float32Array, { name, step }: Contender): void {
  const terms = Array.from({ length: transport.size }, (_, rank) => {
    const of = new Float32Array(values.length);
    fillNormal(of, 1, 1 + rank);
    return of;
  });
  values.set(terms[transport.rank]!);
  step();
  const wrong = wrongPlace(values, terms, name === TREE);
  if (wrong !== -1) throw new Error(`${name}: element ${wrong} of ${values.length} is wrong`);
  const place = values.length - 1;
  const right = values[place]!;
  values[place] = terms[transport.rank]![place]!;
  if (wrongPlace(values, terms, name === TREE) !== place) {
    throw new Error(`${name}: a sum that lacks terms passes the check`);
  }
  values[place] = right;
}

/** The first element that is not the sum of the terms; −1 if there is none. */
function wrongPlace(values: Float32Array, terms: readonly Float32Array[], exact: boolean): number {
  return values.findIndex((value, index) => {
    const of = terms.map((term) => term[index]!);
    if (exact) return !Object.is(value, treeSum(of));
    const sum = of.reduce((total, term) => total + term, 0);
    const magnitude = of.reduce((total, term) => total + Math.abs(term), 0);
    return !(Math.abs(value - sum) <= terms.length * ROUNDING * magnitude);
  });
}

/** ((0 + 1) + (2 + 3)) + …, for a power of two of terms. */
function treeSum(terms: readonly number[]): number {
  if (terms.length === 1) return terms[0]!;
  const half = terms.length / 2;
  return Math.fround(treeSum(terms.slice(0, half)) + treeSum(terms.slice(half)));
}
