/** Starts jobs of MPI. */
import { spawn, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { JobOutcome, JobTask, Library } from "./task.js";

/** koffi is found from here. */
const FOLDER = fileURLToPath(new URL("../..", import.meta.url));
const PROGRAM = fileURLToPath(new URL("./program.js", import.meta.url));
const PATIENCE_MS = 1_200_000;

/** Debian installs both; a name without a suffix may be either. Open MPI asks before it runs as root or shares cores. */
const LAUNCHERS: Readonly<Record<Library, readonly string[]>> = {
  "Open MPI": ["mpirun.openmpi", "--oversubscribe", "--allow-run-as-root"],
  MPICH: ["mpiexec.hydra"],
};
export const LIBRARIES: readonly Library[] = ["Open MPI", "MPICH"];

/** A run that is ended ends its job, which fails and thereby ends the run. */
const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** Before the outcome: launchers print lines of their own. */
const MARK = "outcome: ";

export function printedOutcome(outcome: JobOutcome): string {
  return MARK + JSON.stringify(outcome);
}

export function isInstalled(library: Library): boolean {
  return spawnSync(LAUNCHERS[library][0]!, ["--version"]).status === 0;
}

/** @throws Error when the job fails or does not end */
export async function runJob(
  library: Library,
  processes: number,
  task: JobTask,
): Promise<JobOutcome> {
  const text = await launch(library, processes, [PROGRAM, JSON.stringify(task)]);
  const line = text.split("\n").find((printed) => printed.startsWith(MARK));
  if (line === undefined) throw new Error(`${library}: expected an outcome, got ${text}`);
  return JSON.parse(line.slice(MARK.length)) as JobOutcome;
}

/**
 * Runs a program of Node on a number of processes.
 *
 * @returns what it printed
 * @throws Error when the job fails or does not end
 */
export function launch(
  library: Library,
  processes: number,
  program: readonly string[],
): Promise<string> {
  const [launcher = "", ...flags] = LAUNCHERS[library];
  const args = [...flags, "-n", String(processes), process.execPath, ...program];
  return new Promise<string>((resolve, reject) => {
    const child = spawn(launcher, args, {
      cwd: FOLDER,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    // Launchers end their processes, which are not of this group, when they are asked to; not when they are killed.
    const end = (): void => {
      child.kill("SIGTERM");
    };
    const timer = setTimeout(end, PATIENCE_MS);
    for (const signal of SIGNALS) process.once(signal, end);
    child.once("error", reject);
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      for (const ended of SIGNALS) process.off(ended, end);
      if (code === 0) resolve(stdout);
      else reject(new Error(`${launcher}: ended with ${String(signal ?? code)}: ${stderr}`));
    });
  });
}
