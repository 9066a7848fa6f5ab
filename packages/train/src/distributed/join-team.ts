/** Joins the processes that a launcher has started together. */
import * as library from "layerwise/mpi";
import { Team } from "./team.js";

/**
 * Without a launcher this process is a team of its own, and needs neither MPI nor koffi.
 *
 * @throws Error that says what to install where MPI can't be used
 */
export async function joinTeam(): Promise<Team> {
  return Team.of({ collective: await library.Mpi.init(), library });
}
