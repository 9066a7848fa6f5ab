/**
 * How long a step takes: gradients, their exchange, norms, the update.
 *
 * Nothing overlaps: calls block, as layerwise's do. A trainer that sums buckets during its backward pass hides at most
 * two thirds of the gradients' time.
 */
import { bytesPerParameter } from "../rules.js";
import { BUCKET_BYTES, BUSY, CHUNK_SIZE } from "./assumptions.js";
import type { Network, Processor, Workload } from "./assumptions.js";
import { allReduceTime, smallGatherTime } from "./exchange.js";
import type { Algorithm, Link } from "./exchange.js";

export interface Cluster {
  readonly processes: number;
  readonly network: Network;
  readonly processor: Processor;
}

/** How the optimizer's state is kept. */
export interface State {
  readonly bits: 8 | 32;
  readonly isSharded: boolean;
}

/** Seconds of a step, beside the gradients' own. */
export interface Overhead {
  /** Gradients summed; of sharded state also the weights' way back, which takes the place of the sums'. */
  readonly exchange: number;
  /** All norms to all processes. */
  readonly norms: number;
  readonly update: number;
  readonly total: number;
}

const RULE = "clip-update";
const FLOAT = 4;
const DOUBLE = 8;
/** Of weights and of the update. */
const NORMS = 2;

/** Seconds that the gradients of a batch take, split over all processes. */
export function computeTime(
  { work }: Workload,
  { processes, processor }: Cluster,
  batch: number,
): number {
  return (batch * work) / (processes * processor.speed);
}

export function overheadOf(
  workload: Workload,
  { processes, network, processor }: Cluster,
  { algorithm, state }: { algorithm: Algorithm; state: State },
): Overhead {
  // An addition reads two numbers and writes one for each that was received.
  const link: Link = { ...network, addition: processor.memory / 3 };
  const bytes = FLOAT * workload.parameters;
  const buckets = state.isSharded ? 1 : Math.ceil(bytes / BUCKET_BYTES);
  const exchange = buckets * allReduceTime(algorithm, { bytes: bytes / buckets, processes }, link);
  const norms = state.isSharded
    ? smallGatherTime(NORMS * DOUBLE * workload.chunks, processes, link)
    : 0;
  const owned = ownedBy(workload, state.isSharded ? processes : 1);
  const update = (owned * bytesPerParameter(RULE, state.bits)) / processor.memory;
  return { exchange, norms, update, total: exchange + norms + update };
}

/** The smallest batch that keeps processes busy for {@link BUSY} of a step. */
export function busyBatch(workload: Workload, cluster: Cluster, overhead: Overhead): number {
  const compute = (overhead.total * BUSY) / (1 - BUSY);
  return compute / computeTime(workload, cluster, 1);
}

/** Bytes of the optimizer's state on the process that has the most. */
export function stateBytes(workload: Workload, processes: number, state: State): number {
  const perParameter = state.bits === 32 ? FLOAT : 1 + FLOAT / 256;
  return perParameter * ownedBy(workload, state.isSharded ? processes : 1);
}

/** Parameters of the process that has the most: whole chunks, of which there may be fewer than processes. */
function ownedBy({ parameters, chunks }: Workload, processes: number): number {
  return Math.min(parameters, Math.ceil(chunks / processes) * CHUNK_SIZE);
}
