/**
 * The library's own way to MPI, below its public interface: a job has one collective, and here the fixed order and
 * `MPI_Allreduce` are timed in turn in the same job.
 */
import type * as AbiModule from "../../../packages/layerwise/dist/distributed/mpi/abi.js";
import type * as KoffiModule from "../../../packages/layerwise/dist/distributed/mpi/koffi.js";
import type * as LauncherModule from "../../../packages/layerwise/dist/distributed/mpi/launcher.js";
import type * as LibraryModule from "../../../packages/layerwise/dist/distributed/mpi/library.js";
import type * as TransportModule from "../../../packages/layerwise/dist/distributed/mpi/mpi-transport.js";
import type * as NodeModule from "../../../packages/layerwise/dist/distributed/mpi/node.js";
import type * as TreeModule from "../../../packages/layerwise/dist/distributed/tree/tree-collective.js";

export type Transport = TransportModule.MpiTransport;
export type Collective = ReturnType<typeof TreeModule.treeCollective>;

/** Joins the job of the launcher that started this program. */
export async function joinJob(): Promise<{ transport: Transport; collective: Collective }> {
  const { launcherOf } = await load<typeof LauncherModule>("mpi/launcher.js");
  const { loadKoffi } = await load<typeof KoffiModule>("mpi/koffi.js");
  const { findLibrary } = await load<typeof LibraryModule>("mpi/library.js");
  const { abiOf } = await load<typeof AbiModule>("mpi/abi.js");
  const { nodeProcess } = await load<typeof NodeModule>("mpi/node.js");
  const { MpiTransport } = await load<typeof TransportModule>("mpi/mpi-transport.js");
  const { treeCollective } = await load<typeof TreeModule>("tree/tree-collective.js");
  const launcher = launcherOf(process.env);
  if (launcher === null) throw new Error("expected a program under mpirun, got one without");
  const found = findLibrary(await loadKoffi(), launcher, nodeProcess());
  const transport = new MpiTransport(found, abiOf(found.kind, found.library));
  return { transport, collective: treeCollective(transport) };
}

async function load<Module>(path: string): Promise<Module> {
  const index = import.meta.resolve("layerwise");
  return (await import(new URL(`distributed/${path}`, index).href)) as Module;
}
