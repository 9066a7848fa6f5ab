/** Whose launcher started a program, by the variables that launchers leave. */
import { expect, it } from "vitest";
import { launcherOf, withoutMpi } from "../../../src/distributed/mpi/launcher.js";

const OPEN_MPI = {
  OMPI_COMM_WORLD_SIZE: "4",
  OMPI_COMM_WORLD_RANK: "1",
  OMPI_MCA_ess: "env",
  PMIX_RANK: "1",
  PMIX_NAMESPACE: "1",
};
const HYDRA = {
  PMI_RANK: "1",
  PMI_SIZE: "4",
  PMI_FD: "6",
  MPI_LOCALNRANKS: "4",
  MPI_LOCALRANKID: "1",
  HYDI_CONTROL_FD: "7",
  HYDRA_BOOTSTRAP: "ssh",
  MPIR_CVAR_CH3_INTERFACE_HOSTNAME: "host",
};
const SLURM = { SLURM_PROCID: "1", SLURM_NTASKS: "4" };

it.each([
  ["none", { PATH: "/bin" }, null],
  ["none, in a batch script of Slurm", SLURM, null],
  ["Open MPI's", OPEN_MPI, { kinds: ["Open MPI"], size: 4 }],
  ["Open MPI's in Slurm", { ...OPEN_MPI, ...SLURM }, { kinds: ["Open MPI"], size: 4 }],
  ["MPICH's", HYDRA, { kinds: ["MPICH"], size: 4 }],
  ["MPICH's in Slurm", { ...HYDRA, ...SLURM }, { kinds: ["MPICH"], size: 4 }],
  [
    "srun --mpi=pmi2",
    { ...SLURM, PMI_RANK: "1", PMI_SIZE: "4" },
    { kinds: ["MPICH", "Open MPI"], size: 4 },
  ],
  ["srun --mpi=pmix", { ...SLURM, PMIX_RANK: "1" }, { kinds: ["Open MPI", "MPICH"], size: 4 }],
  ["one that counts wrongly", { ...HYDRA, PMI_SIZE: "many" }, { kinds: ["MPICH"], size: null }],
])("%s", (_, env, launcher) => {
  expect(launcherOf(env)).toEqual(launcher);
});

it("withoutMpi leaves nothing of a job, and everything else", () => {
  const own = { PATH: "/bin", LAYERWISE_MPI_LIBRARY: "libmpi.so.40", ...SLURM };
  for (const job of [OPEN_MPI, HYDRA]) expect(withoutMpi({ ...own, ...job })).toEqual(own);
});
