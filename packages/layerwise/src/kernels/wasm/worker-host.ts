/** Workers of the platform: worker_threads in Node, Web Workers in browsers. Both run the same source. */
import type { WasmMemory } from "./memory/wasm-memory.js";

/** Words of the control block, by which the pool speaks to its workers. */
export const CONTROL_WORDS = 3;
/** Grows by 1 when there is a job, or news. */
export const EPOCH = 0;
/** How many workers are asked to help: those with a lower place than this. */
export const HELPERS = 1;
/** A worker of another generation ends. */
export const GENERATION = 2;

/** What a worker needs to join in. */
export interface WorkerSetup {
  /** A WebAssembly.Module. */
  readonly module: object;
  readonly memory: WasmMemory;
  /** Addresses of what all threads read, and of what this one alone writes. */
  readonly tables: number;
  readonly scratch: number;
  /** Address of the pool's control block, of the job, and the worker's place among its helpers. */
  readonly control: number;
  readonly job: number;
  readonly helper: number;
  /** The worker ends when the control block has another one. */
  readonly generation: number;
}

/** What becomes of a worker. */
export interface WorkerEvents {
  /** It runs. */
  started(): void;
  /** It has ended by itself. */
  ended(): void;
  /** It could not start, or died. */
  failed(reason: string): void;
}

/**
 * The worker: waits for the epoch to change, helps with the job, and looks for the next one a little while
 * (the passes of a step follow each other in microseconds) before it sleeps again.
 */
const source = `
const node = globalThis.process?.getBuiltinModule?.("node:worker_threads");
function run({ module, memory, tables, scratch, control, job, helper, generation }) {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  exports.place(tables, scratch);
  const words = new Int32Array(memory.buffer, control, ${String(CONTROL_WORDS)});
  // The job that it was started for may still be open.
  let seen = Atomics.load(words, ${String(EPOCH)}) - 1;
  if (!node) postMessage("started");
  while (Atomics.load(words, ${String(GENERATION)}) === generation) {
    for (let spins = 0; spins < 1e5 && Atomics.load(words, ${String(EPOCH)}) === seen; spins++);
    if (Atomics.load(words, ${String(EPOCH)}) === seen) Atomics.wait(words, ${String(EPOCH)}, seen);
    seen = Atomics.load(words, ${String(EPOCH)});
    if (helper < Atomics.load(words, ${String(HELPERS)})) exports.work(job);
  }
  if (!node) { postMessage("ended"); close(); }
}
if (node) run(node.workerData);
else globalThis.onmessage = ({ data }) => run(data);
`;

/** As much of Node as is used here. The library has no types of Node in it. */
interface NodeWorker {
  on(event: string, listener: (value: unknown) => void): void;
  unref(): void;
}
interface NodeWorkerOptions {
  readonly eval: true;
  readonly workerData: WorkerSetup;
  readonly execArgv: readonly string[];
}
interface NodeModules {
  "node:worker_threads": {
    Worker: new (source: string, options: NodeWorkerOptions) => NodeWorker;
  };
  "node:os": { availableParallelism(): number };
  "node:fs": { readFileSync(path: string, encoding: "utf8"): string };
}

/** A module of Node, from 20.16 on; elsewhere undefined. */
function nodeModule<Name extends keyof NodeModules>(name: Name): NodeModules[Name] | undefined {
  const { process } = globalThis as {
    process?: { getBuiltinModule?: (name: Name) => NodeModules[Name] | undefined };
  };
  return process?.getBuiltinModule?.(name);
}

/** Cores that this program may use. */
export function availableCores(): number {
  const { navigator } = globalThis as { navigator?: { hardwareConcurrency?: number } };
  return nodeModule("node:os")?.availableParallelism() ?? navigator?.hardwareConcurrency ?? 1;
}

/** Whether a worker can be given shared memory: in Node, and in pages that are cross-origin isolated. */
export function canShareMemory(): boolean {
  const { crossOriginIsolated } = globalThis as { crossOriginIsolated?: boolean };
  return nodeModule("node:worker_threads") !== undefined || crossOriginIsolated === true;
}

/** Starts a worker. It never keeps a program alive. @throws Error where the platform forbids it or has no room for it */
export function startWorker(setup: WorkerSetup, events: WorkerEvents): void {
  const threads = nodeModule("node:worker_threads");
  if (threads === undefined) startWebWorker(setup, events);
  else startNodeWorker(threads, setup, events);
}

function startNodeWorker(
  { Worker }: NodeModules["node:worker_threads"],
  setup: WorkerSetup,
  events: WorkerEvents,
): void {
  checkAddressSpace();
  // Not the program's own flags: what it preloads is not for kernels, and --input-type would be of this source, too.
  const worker = new Worker(source, { eval: true, workerData: setup, execArgv: [] });
  worker.on("online", () => {
    events.started();
  });
  worker.on("error", (error) => {
    events.failed(String(error));
  });
  worker.on("exit", () => {
    events.ended();
  });
  worker.unref();
}

/** A worker of Node reserves 0.6 to 0.9 GB of address space (measured with 20.20 on Linux). */
const WORKER_ADDRESS_SPACE = 2 ** 30;
const PAGE = 4096;

/**
 * Node ends the whole program when there is no address space for a worker (`ulimit -v`), so it must not be tried.
 *
 * @throws Error when less is left than a worker reserves. Where nothing tells how much is left, there is no limit
 */
function checkAddressSpace(): void {
  const fs = nodeModule("node:fs");
  let left: number;
  try {
    const limits = fs?.readFileSync("/proc/self/limits", "utf8") ?? "";
    const limit = /^Max address space +(\d+)/m.exec(limits)?.[1];
    if (fs === undefined || limit === undefined) return;
    const [pages = ""] = fs.readFileSync("/proc/self/statm", "utf8").split(" ");
    left = Number(limit) - Number(pages) * PAGE;
  } catch {
    return; // Another system than Linux, or a program that may not read files.
  }
  if (left < WORKER_ADDRESS_SPACE) {
    throw new Error(
      `address space: expected ${String(WORKER_ADDRESS_SPACE)} bytes for a worker, got ${String(left)}`,
    );
  }
}

function startWebWorker(setup: WorkerSetup, events: WorkerEvents): void {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url);
  URL.revokeObjectURL(url);
  worker.onmessage = ({ data }) => {
    if (data === "started") events.started();
    else events.ended();
  };
  worker.onerror = ({ message }) => {
    events.failed(message);
  };
  worker.postMessage(setup);
}
