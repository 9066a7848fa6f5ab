/** Runs a function on all ranks of a job of threads. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { build } from "esbuild";
import type { Plugin } from "esbuild";
import type { Collective } from "../../../src/distributed/collective.js";
import { sharedMemory } from "./shared-collective.js";

/** What a module that runs on ranks exports as `run`. Data and results are copied to and from its threads. */
export type RankFunction<Data, Result> = (collective: Collective, data: Data) => Result;

export interface Ranks<Data, Result> {
  /** Results by rank. Every call has new threads. */
  run(size: number, data: Data): Promise<Result[]>;
  dispose(): Promise<void>;
}

const FOLDER = fileURLToPath(new URL(".", import.meta.url));

const ENTRY = (file: string): string => `
  import { parentPort, workerData } from "node:worker_threads";
  import { SharedCollective } from "./shared-collective.ts";
  import { run } from ${JSON.stringify(file)};
  const { memory, rank, size, data } = workerData;
  parentPort.postMessage(run(new SharedCollective(memory, { rank, size }), data));
`;

/** The library in another version. */
function otherVersion(version: string): Plugin {
  return {
    name: "other version",
    setup: (building) => {
      building.onLoad({ filter: /src[/\\]version\.ts$/ }, () => ({
        contents: `export const VERSION = ${JSON.stringify(version)};`,
      }));
    },
  };
}

/**
 * @param file of the module
 * @param versions of the library by rank, where they are not its own
 */
export async function ranksOf<Data, Result>(
  file: URL,
  versions: readonly (string | undefined)[] = [],
): Promise<Ranks<Data, Result>> {
  const folder = await mkdtemp(join(tmpdir(), "layerwise-ranks-"));
  const bundled = async (name: string, plugins: Plugin[]): Promise<string> => {
    const outfile = join(folder, `${name}.mjs`);
    await build({
      stdin: { contents: ENTRY(fileURLToPath(file)), resolveDir: FOLDER },
      ...{ bundle: true, outfile, format: "esm", platform: "node", target: "node20", plugins },
    });
    return outfile;
  };
  const script = await bundled("rank", []);
  const others = new Map<number, string>();
  for (const [rank, version] of versions.entries()) {
    if (version === undefined) continue;
    others.set(rank, await bundled(`rank-${rank}`, [otherVersion(version)]));
  }
  return {
    run: (size, data) => {
      const memory = sharedMemory(size);
      return Promise.all(
        Array.from({ length: size }, (_, rank) =>
          resultOf<Result>(others.get(rank) ?? script, { memory, rank, size, data }),
        ),
      );
    },
    dispose: () => rm(folder, { recursive: true }),
  };
}

function resultOf<Result>(script: string, workerData: object): Promise<Result> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(script, { workerData });
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", () => {
      reject(new Error("the thread ended without a result"));
    });
  });
}
