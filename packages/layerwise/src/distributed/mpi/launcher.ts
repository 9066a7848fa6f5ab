/** Who started this program: mpirun and its like leave variables in the environment. */
import type { LibraryKind } from "./abi.js";

/** Libraries with a launcher of their own. */
export type LaunchedKind = Exclude<LibraryKind, "the standard ABI">;

export interface Launcher {
  /** Whose processes it may start, the likeliest first: Slurm's serves several libraries. */
  readonly kinds: readonly LaunchedKind[];
  /** Processes of the job, null when the launcher does not say. */
  readonly size: number | null;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** null for a program that was started on its own. */
export function launcherOf(env: Environment): Launcher | null {
  if (env.OMPI_COMM_WORLD_SIZE !== undefined) {
    return { kinds: ["Open MPI"], size: countOf(env.OMPI_COMM_WORLD_SIZE) };
  }
  if (env.PMI_RANK !== undefined) {
    // MPICH's own launcher counts the processes of a machine, Slurm's does not. Both leave SLURM_PROCID in Slurm's jobs.
    const isSlurms = env.SLURM_PROCID !== undefined && env.MPI_LOCALNRANKS === undefined;
    return { kinds: isSlurms ? ["MPICH", "Open MPI"] : ["MPICH"], size: countOf(env.PMI_SIZE) };
  }
  if (env.PMIX_RANK !== undefined) {
    return { kinds: ["Open MPI", "MPICH"], size: countOf(env.SLURM_NTASKS) };
  }
  return null;
}

function countOf(text: string | undefined): number | null {
  const count = Number(text);
  return Number.isInteger(count) && count > 0 ? count : null;
}

/** Variables by which a process finds its job. */
const OF_A_JOB = /^(OMPI_|PMI_|PMIX_|PRTE_|MPIR_|HYDI?_|HYDRA_|MPI_LOCAL(RANKID|NRANKS)$)/;

/**
 * An environment without MPI's variables. A child process that inherits them takes itself for a part of the job, and
 * fails.
 *
 * @example
 * spawn(process.execPath, ["child.js"], { env: withoutMpi(process.env) });
 */
export function withoutMpi(env: Environment): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !OF_A_JOB.test(name)));
}
