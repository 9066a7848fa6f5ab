/** What the numbers were measured on. */
import { execFileSync } from "node:child_process";
import { availableParallelism, cpus, loadavg, totalmem } from "node:os";

export interface Machine {
  readonly date: string;
  readonly processor: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly node: string;
  /** Of the repository; "unknown" outside one, "+" for changes since. */
  readonly commit: string;
  /** Programs that wanted a core in the minute before. */
  readonly loadBefore: number;
}

export function describeMachine(): Machine {
  return {
    date: new Date().toISOString().slice(0, 10),
    processor: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    commit: commit(),
    loadBefore: Number(loadavg()[0]?.toFixed(2)),
  };
}

function commit(): string {
  const git = (...args: string[]): string =>
    execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    const changed = git(
      "status",
      "--porcelain",
      "--untracked-files=no",
      "--",
      "../packages/layerwise",
    );
    return git("rev-parse", "--short", "HEAD") + (changed === "" ? "" : "+");
  } catch {
    return "unknown";
  }
}

/** The folder of a machine's results: "AMD EPYC" and "Intel(R) Xeon(R) Processor" → amd-epyc, intel-xeon. */
export function folderName({ processor }: Machine): string {
  const words = processor
    .replace(/\((R|TM)\)|\b(CPU|Processor)\b|@.*$/gi, " ")
    .toLowerCase()
    .match(/[a-z0-9]+/g);
  return words?.join("-") ?? "unknown";
}

/** One line for the head of a table. */
export function machineLine(machine: Machine): string {
  const { date, processor, cores, memoryGiB, node, commit: at, loadBefore } = machine;
  return `${date}, ${processor}, ${cores} cores, ${memoryGiB} GiB, Node ${node}, commit ${at}, load before ${loadBefore}.`;
}

/** For tables of several runs: which state of the library this one is of. */
export function measuredAt(machine: Machine | undefined): string {
  return machine === undefined
    ? ""
    : ` ${machine.date}, commit ${machine.commit}, load before ${machine.loadBefore}.`;
}
