/**
 * The main job: `npm start`'s setting (MNIST, batch 8,192, the default optimizers) without a launcher and on 1, 2, 4 and 8
 * processes of both libraries. Ends with 1 unless all weights have the same bits.
 *
 *     node integration/mpi/main-job.mjs [options of layerwise-train]
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LIBRARIES, startTrainer, weightsHash } from "./trainer-job.mjs";

const HOUR_MS = 3_600_000;
const jobs = [
  { library: null, processes: 1 },
  ...LIBRARIES.flatMap((library) => [1, 2, 4, 8].map((processes) => ({ library, processes }))),
];
const folder = mkdtempSync(join(tmpdir(), "layerwise-main-job-"));
const hashes = new Set();
try {
  for (const { library, processes } of jobs) {
    const name = `${library ?? "no launcher"}, ${processes}`;
    const out = join(folder, name.replaceAll(/\W+/g, "-"));
    const started = performance.now();
    const args = [...process.argv.slice(2), "--out", out];
    const { code, signal, stderr } = await startTrainer({
      ...{ library, processes, args, timeoutMs: HOUR_MS },
    }).outcome;
    if (code !== 0) throw new Error(`${name}: expected code 0, got ${code ?? signal}: ${stderr}`);
    const hash = weightsHash(out);
    hashes.add(hash);
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    console.log(`${name.padEnd(15)} ${hash}  ${seconds} s`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(hashes.size === 1 ? "the same bits everywhere" : `${hashes.size} different results`);
process.exitCode = hashes.size === 1 ? 0 : 1;
