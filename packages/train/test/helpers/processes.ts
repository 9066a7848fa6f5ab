/** Processes of the machine. */
import { execFileSync } from "node:child_process";

interface Listed {
  parent: number;
  pid: number;
  state: string;
}

function processes(): Listed[] {
  const text = execFileSync("ps", ["-A", "-o", "ppid=,pid=,stat="], { encoding: "utf8" });
  return text
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .map(([parent, pid, state]) => ({ parent: Number(parent), pid: Number(pid), state: state! }));
}

/** Those that have not ended; a zombie has. */
export function running(pids: readonly number[]): number[] {
  return processes()
    .filter(({ pid, state }) => pids.includes(pid) && !state.startsWith("Z"))
    .map(({ pid }) => pid);
}

export function childrenOf(process: number): number[] {
  return processes()
    .filter(({ parent }) => parent === process)
    .map(({ pid }) => pid);
}
