/** The tables of the model. */
import type { Table } from "../results.js";
import { number } from "../results.js";
import { BUSY, NETWORKS, PROCESSES, SAMPLES_PER_PROCESS } from "./assumptions.js";
import type { Processor, Workload } from "./assumptions.js";
import { ALGORITHMS } from "./exchange.js";
import { busyBatch, computeTime, overheadOf, stateBytes } from "./step.js";
import type { Cluster, State } from "./step.js";

const WHOLE: State = { bits: 32, isSharded: false };
const STATES: readonly State[] = [
  WHOLE,
  { bits: 8, isSharded: false },
  { bits: 32, isSharded: true },
  { bits: 8, isSharded: true },
];

const ms = (seconds: number): string => number(1000 * seconds);
const mebibytes = (bytes: number): string => number(bytes / 2 ** 20);

function clusters(processor: Processor): Cluster[] {
  return NETWORKS.flatMap((network) =>
    PROCESSES.map((processes) => ({ network, processes, processor })),
  );
}

/** Ring against halving and doubling. */
export function exchangeTable(workload: Workload, processor: Processor): Table {
  return {
    title: `${workload.name}: a step of ${SAMPLES_PER_PROCESS} samples a process`,
    notes: [
      `Milliseconds. Exchange: of all gradients, by a ring, by halving and doubling, and by halving and doubling in blocks and buckets as layerwise does. The step: with layerwise's, 32 bits, whole state. Busy: the share of the step in which gradients are computed.`,
    ],
    head: ["network", "processes", "gradients", ...ALGORITHMS, "step", "busy"],
    rows: clusters(processor).map((cluster) => {
      const compute = computeTime(workload, cluster, SAMPLES_PER_PROCESS * cluster.processes);
      const overheads = ALGORITHMS.map((algorithm) =>
        overheadOf(workload, cluster, { algorithm, state: WHOLE }),
      );
      const step = compute + overheads.at(-1)!.total;
      return [
        ...[cluster.network.name, cluster.processes.toLocaleString("en"), ms(compute)],
        ...overheads.map(({ exchange }) => ms(exchange)),
        ...[ms(step), `${((100 * compute) / step).toFixed(0)} %`],
      ];
    }),
  };
}

/** Where sharding and 8 bits matter. */
export function stateTable(workload: Workload, processor: Processor): Table {
  return {
    title: `${workload.name}: where sharding and 8 bits matter`,
    notes: [
      "For each way to keep the state: milliseconds of everything but the gradients (exchange, norms, update), and MiB of state on the process with the most (processes share whole chunks of 32,768 parameters). Weights and gradients take 8 bytes a parameter more, whatever is done.",
    ],
    head: [
      ...["network", "processes"],
      ...STATES.map(({ bits, isSharded }) => `${bits} bits${isSharded ? ", sharded" : ""}`),
    ],
    rows: clusters(processor).map((cluster) => [
      ...[cluster.network.name, cluster.processes.toLocaleString("en")],
      ...STATES.map((state) => {
        const { total } = overheadOf(workload, cluster, { algorithm: "layerwise", state });
        return `${ms(total)} ms, ${mebibytes(stateBytes(workload, cluster.processes, state))} MiB`;
      }),
    ]),
  };
}

/** Where LARS' batch sizes are needed. */
export function batchTable(workload: Workload, processor: Processor): Table {
  const known = workload.batches.map(({ samples, of }) => `${samples.toLocaleString("en")}: ${of}`);
  return {
    title: `${workload.name}: the batch that keeps processes busy`,
    notes: [
      `The smallest batch with which processes compute gradients for ${100 * BUSY} % of a step (layerwise's exchange, 32 bits), in samples: each is one ${workload.sample}. Batches that were trained with: ${known.join("; ")}.`,
    ],
    head: ["network", "processes", "whole state", "sharded", "sharded, within"],
    rows: clusters(processor).map((cluster) => {
      const [whole, sharded] = [false, true].map((isSharded) => {
        const state: State = { bits: 32, isSharded };
        const overhead = overheadOf(workload, cluster, { algorithm: "layerwise", state });
        return Math.ceil(busyBatch(workload, cluster, overhead));
      }) as [number, number];
      return [
        ...[cluster.network.name, cluster.processes.toLocaleString("en")],
        ...[whole, sharded].map((batch) => batch.toLocaleString("en")),
        knownBatch(workload, Math.max(sharded, cluster.processes)),
      ];
    }),
  };
}

function knownBatch({ batches }: Workload, batch: number): string {
  return batches.find(({ samples }) => batch <= samples)?.of ?? "more than these";
}
