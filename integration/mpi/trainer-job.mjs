/** Runs layerwise-train under a launcher, and hashes the weights that it wrote. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { decodeCheckpoint } from "../../packages/layerwise/dist/checkpoint.js";

const CLI = fileURLToPath(new URL("../../packages/train/dist/cli.js", import.meta.url));
/** koffi is found from here. */
const HERE = fileURLToPath(new URL(".", import.meta.url));

/** As root, and with more processes than cores. */
const LAUNCHERS = {
  openmpi: ["mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"],
  mpich: ["mpirun.mpich"],
};
export const LIBRARIES = Object.keys(LAUNCHERS);

/**
 * Starts the trainer.
 *
 * @param job library: "openmpi", "mpich", or null for no launcher; processes; args of layerwise-train; timeoutMs
 * @returns the launcher's process, and how it ends; after timeoutMs its whole group is killed
 */
export function startTrainer({ library, processes = 1, args, timeoutMs = 600_000 }) {
  const [launcher, ...flags] = library === null ? [] : LAUNCHERS[library];
  const own = [process.execPath, CLI, ...args];
  const command =
    launcher === undefined ? own : [launcher, ...flags, "-n", String(processes), ...own];
  const child = spawn(command[0], command.slice(1), {
    cwd: HERE,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const timer = setTimeout(() => process.kill(-child.pid, "SIGKILL"), timeoutMs);
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => (stdout += chunk));
  child.stderr.on("data", (chunk) => (stderr += chunk));
  const outcome = new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout, stderr });
    });
  });
  return { child, outcome };
}

/** sha256 of all weights and state in the checkpoints of a run: not of the length of metrics.jsonl, which has times. */
export function weightsHash(out) {
  const hash = createHash("sha256");
  const folder = join(out, "checkpoints");
  for (const name of readdirSync(folder).sort()) {
    const { step, layers, tensors } = decodeCheckpoint(readFileSync(join(folder, name)));
    hash.update(JSON.stringify([name, step]));
    for (const layer of layers) {
      hash.update(JSON.stringify([layer.name, layer.step]));
      for (const values of Object.values(layer.momentum ?? {})) {
        if (ArrayBuffer.isView(values)) hash.update(bytesOf(values));
      }
    }
    for (const [tensor, { data }] of Object.entries(tensors ?? {})) {
      hash.update(tensor);
      hash.update(bytesOf(data));
    }
  }
  return hash.digest("hex");
}

function bytesOf({ buffer, byteOffset, byteLength }) {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
