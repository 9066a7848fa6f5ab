/** The share of a machine's cores that each of its processes has. */
import { readFileSync } from "node:fs";
import { availableParallelism, hostname } from "node:os";
import type { Team } from "./team.js";

/**
 * How many threads this process should have. Processes of one machine share the cores that any of them may use; a launcher
 * may have bound each to its own.
 */
export function shareOfCores(team: Team): number {
  const own = availableParallelism();
  if (team.size === 1) return own;
  const host = hostname();
  const neighbours = team
    .texts(JSON.stringify({ host, cores: allowedCores() }))
    .map((text) => JSON.parse(text) as { host: string; cores: number[] })
    .filter((other) => other.host === host);
  const cores = new Set(neighbours.flatMap((other) => other.cores));
  return Math.max(1, Math.min(own, Math.floor(cores.size / neighbours.length)));
}

/** Numbers of the cores that this process may use: "0-3,8" on Linux; elsewhere as many as there are. */
function allowedCores(): number[] {
  try {
    const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(
      readFileSync("/proc/self/status", "utf8"),
    )?.[1];
    if (list !== undefined) return coresOf(list);
  } catch {
    // No Linux.
  }
  return Array.from({ length: availableParallelism() }, (_, core) => core);
}

/** "0-3,8" → 0, 1, 2, 3, 8. */
export function coresOf(list: string): number[] {
  return list.split(",").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return Array.from({ length: last! - first! + 1 }, (_, index) => first! + index);
  });
}
