/** Describes the processes of a run, for the log. */
import type { Members } from "./team.js";

export function describeTeam({ collective }: Members, threads: number): string {
  const { size, name } = collective;
  const line = `processes: ${size} (${name}), with ${threads} gradient ${threads === 1 ? "thread" : "threads"} each`;
  if (Number.isInteger(Math.log2(size))) return line;
  return `${line}\nnote: ${size} is not a power of two: weights are equal to those of another number of processes to rounding, not to the bit`;
}
