/** One process alone: there is nothing to exchange. */
import type { Collective } from "./collective.js";

/**
 * A job of one process, for programs that run with and without MPI.
 *
 * @example
 * const collective = localCollective();
 * collective.size; // 1
 */
export function localCollective(): Collective {
  return {
    rank: 0,
    size: 1,
    name: "one process",
    barrier: () => undefined,
    broadcast: () => undefined,
    allReduce: () => undefined,
    reduceScatter: () => undefined,
    allGather: () => undefined,
    abort: (message) => {
      throw new Error(message);
    },
    finalize: () => undefined,
  };
}
