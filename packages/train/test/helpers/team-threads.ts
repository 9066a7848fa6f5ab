/** Runs a training run on the threads of this process as if they were processes: what MPI would carry, memory does. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { build } from "esbuild";
import { sharedMemory } from "../../../layerwise/test/distributed/ranks/shared-collective.js";
import { temporaryFolder } from "./data.js";

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const COLLECTIVE = source("../../../layerwise/test/distributed/ranks/shared-collective.ts");
const built = (path: string): string =>
  JSON.stringify(pathToFileURL(source(`../../dist/${path}`)).href);

/** What a thread is asked for: a new run in a folder, or the rest of one. */
export interface Request {
  /** By their names in camel case; by rank where they differ. */
  readonly options?: Readonly<Record<string, unknown>>;
  readonly optionsOf?: readonly Readonly<Record<string, unknown>>[];
  readonly out: string;
  readonly resume?: boolean;
  readonly workers?: number;
}

/** How it ended on one rank. */
export interface RankOutcome {
  readonly error: { readonly name: string; readonly message: string; shared: boolean } | null;
  readonly stdout: string;
}

const SCRIPT = `
  import { parentPort, workerData } from "node:worker_threads";
  import * as library from "layerwise/mpi";
  import { SharedCollective } from "./collective.mjs";
  import { Team, isShared } from ${built("distributed/team.js")};
  import { executeRun, resumeRun, startRun } from ${built("run.js")};
  import { checkOptions } from ${built("options.js")};
  const { memory, rank, size, request } = workerData;
  const team = Team.of({ collective: new SharedCollective(memory, { rank, size }), library });
  let error = null;
  try {
    const options = request.optionsOf?.[rank] ?? request.options;
    const run = request.resume
      ? resumeRun(request.out, team)
      : startRun(team.together(() => checkOptions(options)), request.out, team);
    await executeRun(run, request.workers ?? 1);
  } catch (thrown) {
    error = { name: thrown.name, message: thrown.message, shared: isShared(thrown) };
    if (!error.shared && size > 1) console.error(thrown.stack);
  }
  parentPort.postMessage(error);
`;

export interface TeamThreads {
  run(size: number, request: Request): Promise<RankOutcome[]>;
  remove(): void;
}

/** The threads' files, and a function that starts them. */
export async function teamThreads(): Promise<TeamThreads> {
  const folder = temporaryFolder().path;
  await build({
    entryPoints: [COLLECTIVE],
    outfile: join(folder, "collective.mjs"),
    ...{ bundle: true, format: "esm", platform: "node", target: "node20" },
  });
  const file = join(folder, "rank.mjs");
  const library = JSON.stringify(pathToFileURL(source("../../../layerwise/dist/mpi.js")).href);
  writeFileSync(file, SCRIPT.replace('"layerwise/mpi"', library));
  return {
    run: (size, request) => {
      const memory = sharedMemory(size);
      const ranks = Array.from({ length: size }, (_, rank) =>
        runRank(file, { memory, rank, size, request }),
      );
      return Promise.all(ranks);
    },
    remove: () => {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function runRank(file: string, workerData: object): Promise<RankOutcome> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(file, { workerData, stdout: true });
    let stdout = "";
    worker.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
    let outcome: Omit<RankOutcome, "stdout"> | null = null;
    worker.on("message", (error: RankOutcome["error"]) => {
      outcome = { error };
    });
    worker.on("error", reject);
    worker.on("exit", () => {
      if (outcome === null) reject(new Error("a rank ended without a result"));
      else resolve({ ...outcome, stdout });
    });
  });
}
