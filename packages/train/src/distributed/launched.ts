/** Whether a launcher of processes, such as mpirun or srun, started this one. */

/** What launchers tell their processes: Open MPI, MPICH's Hydra, and PMIx, under Slurm too. */
const VARIABLES = /^(OMPI_|PMIX?_|MPI_|PRTE_|HYDI?_|HYDRA_)/;
const RANKS = ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"];

export function wasLaunched(environment: NodeJS.ProcessEnv): boolean {
  return RANKS.some((name) => environment[name] !== undefined);
}

/** An environment for processes that are no part of the job. With the launcher's variables they would try to join it. */
export function withoutLauncher(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !VARIABLES.test(name)));
}
