/** One cell of a sweep: a training run in a process of its own. */
import { spawn } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readMetrics } from "../metrics.js";
import { optionName } from "../options.js";
import type { RawOptions } from "../options.js";
import type { Cell, CellResult } from "./cells.js";

const CLI = fileURLToPath(new URL("../cli.js", import.meta.url));

/**
 * Trains a cell, or goes on with one that a kill stopped.
 *
 * @throws Error when the process failed for another reason than a loss that is not finite
 */
export async function runCell(
  cell: Cell,
  training: RawOptions,
  folder: string,
): Promise<CellResult> {
  const { code, errors } = await runProcess([
    ...cellArguments(cell, training, folder),
    "--workers",
    "1",
  ]);
  const metrics = readMetrics(join(folder, "metrics.jsonl"));
  const epochs = metrics.filter((line) => line.kind === "epoch");
  const diverged = metrics.some((line) => line.kind === "failed");
  if (code !== 0 && !diverged) throw new Error(`a cell ended with code ${String(code)}: ${errors}`);
  const last = diverged ? undefined : epochs.at(-1);
  return {
    ...cell,
    diverged,
    testAccuracy: last?.testAccuracy ?? null,
    testLoss: last?.testLoss ?? null,
    stateBytes: last?.stateBytes ?? null,
    seconds: epochs.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}

function cellArguments(cell: Cell, training: RawOptions, folder: string): string[] {
  if (existsSync(join(folder, "config.json"))) return ["--resume", folder];
  // A kill before config.json was there leaves a folder in which no run has begun.
  rmSync(folder, { recursive: true, force: true });
  return [...optionTexts({ ...training, ...cell }), "--out", folder];
}

/** { batchSize: 256, nesterov: true } → --batch-size 256 --nesterov. */
function optionTexts(options: RawOptions): string[] {
  return Object.entries(options).flatMap(([name, value]) => {
    if (value === false) return [];
    return value === true ? [optionName(name)] : [optionName(name), String(value)];
  });
}

/** Runs this command line again; with the channel, the child notices when this process is killed. */
function runProcess(args: readonly string[]): Promise<{ code: number | null; errors: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CLI, ...args], {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    let errors = "";
    child.stderr!.on("data", (chunk: Buffer) => (errors += chunk.toString()));
    child.on("error", reject);
    child.on("close", (code) => {
      resolve({ code, errors: errors.trim() });
    });
  });
}
