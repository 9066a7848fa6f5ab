/** Starts programs under mpirun. */
import { spawn, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe } from "vitest";

export type Library = "Open MPI" | "MPICH";

/** koffi is found from here. */
const FOLDER = fileURLToPath(new URL("../..", import.meta.url));
/** A job that hangs is a failure; a job of 8 processes on 2 busy cores takes 10 s. */
const PATIENCE_MS = 90_000;

/** Debian installs both; a name without a suffix may be either. */
const LAUNCHERS: Readonly<Record<Library, readonly string[]>> = {
  "Open MPI": ["mpirun.openmpi", "--oversubscribe", "--allow-run-as-root"],
  MPICH: ["mpiexec.hydra"],
};

/** Open MPI refuses more processes than cores, and root, unless told otherwise. Yielding is kinder to shared cores. */
const ENVIRONMENT = { OMPI_MCA_mpi_yield_when_idle: "1" };

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** The launcher and its flags, for other hosts than this machine. */
  readonly launcher?: readonly string[];
  /** A job that takes longer is killed. */
  readonly patienceMs?: number;
  /** Called with the process of the launcher, for tests that interfere. */
  readonly onStart?: (pid: number) => void;
}

export const LIBRARIES: readonly Library[] = ["Open MPI", "MPICH"];

export function isInstalled(library: Library): boolean {
  return spawnSync(LAUNCHERS[library][0]!, ["--version"]).status === 0;
}

/** Tests with each library. One that is missing is skipped, aloud; with CI=true that fails. */
export function describeEach(title: string, tests: (library: Library) => void): void {
  for (const library of LIBRARIES) {
    const isThere = isInstalled(library);
    if (!isThere) {
      const message = `${library}: expected ${LAUNCHERS[library][0]!}, got none; Debian: apt-get install ${library === "MPICH" ? "mpich" : "openmpi-bin"}`;
      if (process.env.CI === "true") throw new Error(message);
      console.warn(`SKIPPED: ${message}`);
    }
    describe.skipIf(!isThere)(`${title}: ${library}`, () => {
      tests(library);
    });
  }
}

/** Runs `node <args>` on a number of processes. */
export function mpirun(
  library: Library,
  size: number,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Outcome> {
  const { env = {}, cwd = FOLDER, patienceMs = PATIENCE_MS, onStart } = options;
  const [launcher = "", ...flags] = options.launcher ?? LAUNCHERS[library];
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(launcher, [...flags, "-n", String(size), process.execPath, ...args], {
      cwd,
      env: { ...process.env, ...ENVIRONMENT, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      // A group of its own, so that what hangs can be ended with all its processes.
      detached: true,
    });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    const timer = setTimeout(() => {
      process.kill(-child.pid!, "SIGKILL");
      reject(new Error(`the job did not end: ${stdout}\n${stderr}`));
    }, patienceMs);
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr, seconds: (performance.now() - started) / 1000 });
    });
    onStart?.(child.pid!);
  });
}

/** The path of a program of the tests. */
export function program(name: string): string {
  return fileURLToPath(new URL(`../programs/${name}.mjs`, import.meta.url));
}
