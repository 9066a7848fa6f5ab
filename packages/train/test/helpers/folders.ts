/** What tests look at in the folders of runs and sweeps, and small disks for them. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { readMetrics } from "../../src/metrics.js";

/** Names that no process leaves behind when it ends by itself. */
export function leftovers(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder, { recursive: true }).map(String);
  return names.filter((name) => /\.partial$|(^|\/)lock/.test(name));
}

/** Values that differ from run to run. */
const TIMES = ["gradientMs", "optimizerMs", "seconds", "samplesPerSecond"];

/** The metrics of a run without times. */
export function metricsOf(folder: string): unknown[] {
  return readMetrics(join(folder, "metrics.jsonl")).map(withoutTimes);
}

/** A value without the times in it. */
export function withoutTimes(value: unknown): unknown {
  const text = JSON.stringify(value, (name, part: unknown) => (TIMES.includes(name) ? null : part));
  return JSON.parse(text) as unknown;
}

/** sha256 of each checkpoint, but for the length of metrics.jsonl: that has times, of differing lengths. */
export function checkpointHashes(folder: string): Record<string, string> {
  const checkpoints = join(folder, "checkpoints");
  return Object.fromEntries(
    readdirSync(checkpoints)
      .sort()
      .map((name) => [name, checkpointHash(readFileSync(join(checkpoints, name)))]),
  );
}

function checkpointHash(bytes: Buffer): string {
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + headerLength).toString()) as {
    __metadata__: Record<string, string>;
  };
  delete header.__metadata__.metricsBytes;
  const hash = createHash("sha256");
  return hash
    .update(JSON.stringify(header))
    .update(bytes.subarray(8 + headerLength))
    .digest("hex");
}

/** A disk in memory of its own, which root can make; null, with a loud line, where that is not allowed. */
export function mountDisk(path: string, options: string): { unmount: () => void } | null {
  mkdirSync(path, { recursive: true });
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", path], { stdio: "pipe" });
  } catch (error) {
    console.warn(`NO SMALL DISK: ${String(error)}; tested with a limit of the size of files alone`);
    return null;
  }
  return {
    unmount: () => {
      execFileSync("umount", [path]);
    },
  };
}
