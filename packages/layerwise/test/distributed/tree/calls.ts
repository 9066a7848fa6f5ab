/** Runs calls of a tree collective on one rank. */
import type { Collective, NumberArray } from "../../../src/distributed/collective.js";
import { treeCollective } from "../../../src/distributed/tree/tree-collective.js";
import type { TreeOptions } from "../../../src/distributed/tree/tree-collective.js";
import { ThreadTransport } from "./thread-transport.js";

const TYPES = { Float32Array, Float64Array, Uint8Array, Int32Array, Uint32Array };
export type TypeName = keyof typeof TYPES;

/** A call, with the values of each rank: arrays of numbers. */
export interface Call {
  readonly kind: "allReduce" | "reduceScatter" | "allGather" | "broadcast" | "barrier";
  readonly type: TypeName;
  readonly values: readonly (readonly (readonly number[])[])[];
  readonly counts: readonly number[];
  readonly root: number;
  /** One array is given as it is, not in a list. */
  readonly isAlone?: boolean;
}

export interface Job {
  readonly memory: SharedArrayBuffer;
  /** Of all ranks, or of each. */
  readonly options: TreeOptions | readonly TreeOptions[];
  readonly calls: readonly Call[];
}

/** What a rank has after a call. */
export interface CallOutcome {
  readonly values: readonly NumberArray[];
  readonly error: string | null;
  readonly messages: number;
}

export function run({ rank, size }: Collective, { memory, options, calls }: Job): CallOutcome[] {
  const transport = new ThreadTransport(memory, { rank, size });
  const own = Array.isArray(options) ? (options as readonly TreeOptions[])[rank] : options;
  const collective = treeCollective(transport, own as TreeOptions);
  const outcomes = calls.map((call): CallOutcome => {
    const before = transport.messages;
    const values = call.values[rank]!.map((numbers) => new TYPES[call.type](numbers));
    let error: string | null = null;
    try {
      make(collective, call, values);
    } catch (thrown) {
      error = String(thrown);
    }
    return { values, error, messages: transport.messages - before };
  });
  collective.finalize();
  return outcomes;
}

function make(collective: Collective, call: Call, arrays: NumberArray[]): void {
  const values = call.isAlone === true ? arrays[0]! : arrays;
  const { counts, root } = call;
  if (call.kind === "allReduce") collective.allReduce(values as Float32Array[]);
  if (call.kind === "reduceScatter") collective.reduceScatter(values as Float32Array[], counts);
  if (call.kind === "allGather") collective.allGather(values, counts);
  if (call.kind === "broadcast") collective.broadcast(values, root);
  if (call.kind === "barrier") collective.barrier();
}
