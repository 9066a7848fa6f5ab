/** Joins the processes that a launcher has started together. */
import { wasLaunched } from "./launched.js";
import { Team } from "./team.js";

/**
 * Under a launcher, loads MPI; otherwise nothing is loaded.
 *
 * @throws Error that says what to install where MPI can't be used
 */
export async function joinTeam(): Promise<Team> {
  if (!wasLaunched(process.env)) return Team.alone();
  const library = await import("layerwise/mpi");
  return Team.of({ collective: await library.Mpi.init(), library });
}
