/** Mpi.init(): from the launcher's environment to a collective. */
import { checkChoice, checkNames, checkObject } from "../../check.js";
import { printError } from "../../warn.js";
import type { Collective } from "../collective.js";
import { localCollective } from "../local.js";
import { treeCollective } from "../tree/tree-collective.js";
import { abiOf } from "./abi.js";
import { loadKoffi } from "./koffi.js";
import { launcherOf } from "./launcher.js";
import type { Launcher } from "./launcher.js";
import { findLibrary } from "./library.js";
import { MpiTransport } from "./mpi-transport.js";
import type { LocalPlace } from "./mpi-transport.js";
import { nodeProcess } from "./node.js";
import type { NodeProcess } from "./node.js";

/** A job of MPI, or of one process. */
export interface MpiJob extends Collective {
  /** Of this process among those on its machine, from 0. */
  readonly localRank: number;
  /** Processes on this machine: each has its share of the cores. */
  readonly localSize: number;
}

export interface MpiOptions {
  /**
   * How sums are made. "tree": in the fixed order of {@link Collective.allReduce}. "library": by `MPI_Allreduce`, in the
   * order that the library prefers. Default "tree".
   */
  readonly order?: "tree" | "library";
}

let isStarted = false;

/**
 * Joins the job of the `mpirun` that started this program. A program that was started without one is a job of one
 * process, which needs neither MPI nor koffi.
 *
 * From here to `finalize()`, a process that ends in any way, by an exception or `process.exit(0)`, ends the whole job
 * with a code other than 0.
 *
 * @throws Error when koffi or the library is missing, the library is not the launcher's, or init was called before;
 *   TypeError or RangeError for a wrong option
 * @example
 * const job = await Mpi.init();
 * console.log(`rank ${job.rank} of ${job.size}, on ${job.name}`);
 * job.finalize();
 */
async function init(options: MpiOptions = {}): Promise<MpiJob> {
  checkNames("Mpi.init: options", checkObject("Mpi.init: options", options), ["order"]);
  const order = checkChoice("Mpi.init: order", options.order ?? "tree", ["tree", "library"]);
  if (isStarted) throw new Error("Mpi.init: expected one call per program, got another");
  isStarted = true;
  const launcher = launcherOf((globalThis as { process?: NodeProcess }).process?.env ?? {});
  const place: LocalPlace = { localRank: 0, localSize: 1 };
  if (launcher === null) return Object.assign(localCollective(), place);
  const transport = await startMpi(launcher);
  endJobWithProcess(transport);
  const { localRank, localSize } = transport;
  return Object.assign(treeCollective(transport, { order }), { localRank, localSize });
}

async function startMpi(launcher: Launcher): Promise<MpiTransport> {
  const process = nodeProcess();
  const found = findLibrary(await loadKoffi(), launcher, process);
  const transport = new MpiTransport(found, abiOf(found.kind, found.library));
  const { size } = launcher;
  if (size !== null && size !== transport.size) {
    printError(
      `Mpi.init: expected ${size} processes, as the launcher says, got ${transport.size}: ${found.name} is not the library of this launcher`,
    );
    return transport.abort(1);
  }
  return transport;
}

/**
 * Without finalize() the others would wait forever, and some launchers take an exit code of 0 for success. Exceptions
 * and rejections end a program by its exit too.
 */
function endJobWithProcess(transport: MpiTransport): void {
  const process = nodeProcess();
  const place = `rank ${transport.rank} of ${transport.size}`;
  process.on("uncaughtExceptionMonitor", (error) => {
    if (transport.isFinalized || process.listenerCount("uncaughtException") > 0) return;
    // Node prints it after the exit, which is too late.
    printError(`${place}: ${(error as Error | undefined)?.stack ?? String(error)}`);
  });
  process.on("exit", (code) => {
    if (transport.isFinalized) return;
    printError(
      `${place}: expected finalize() at the end, got the end of the process with exit code ${code}; the job ends`,
    );
    transport.abort(code === 0 ? 1 : code);
  });
}

/**
 * MPI: the library by which the processes of a cluster exchange messages.
 *
 * Source: MPI: A Message-Passing Interface Standard, version 4.0, 2021.
 */
export const Mpi = { init } as const;
