/** Runs programs of data-parallel training on the processes of a launcher, mpirun for example. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { deserialize, serialize } from "node:v8";
import { build } from "esbuild";
import type { Command, Outcome } from "./program.js";

/** Starts a script on a number of processes, with arguments, and fails unless all end with 0. */
export type Launch = (size: number, script: string, args: readonly string[]) => Promise<void>;

/**
 * Runs several programs in one job, which takes seconds to start.
 *
 * @param library the built mpi.js, which the processes import
 * @returns outcomes by program, then by rank
 */
export async function runOnProcesses(
  launch: Launch,
  library: string,
  { size, programs }: { size: number; programs: readonly (readonly Command[])[] },
): Promise<Outcome[][][]> {
  const folder = await mkdtemp(join(tmpdir(), "layerwise-processes-"));
  try {
    const script = join(folder, "process.mjs");
    await build({
      entryPoints: [fileURLToPath(new URL("process.ts", import.meta.url))],
      ...{ bundle: true, outfile: script, format: "esm", platform: "node", target: "node20" },
    });
    const input = join(folder, "programs.bin");
    await writeFile(input, serialize(programs));
    await launch(size, script, [library, input, folder]);
    const byRank = await Promise.all(
      Array.from({ length: size }, async (_, rank) => {
        const file = await readFile(join(folder, `${rank}.bin`));
        return deserialize(file) as Outcome[][];
      }),
    );
    return programs.map((_, program) => byRank.map((ofRank) => ofRank[program]!));
  } finally {
    await rm(folder, { recursive: true });
  }
}
