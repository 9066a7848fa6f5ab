/** One cell of a sweep: a training run in a process of its own. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readMetrics } from "../metrics.js";
import { optionName } from "../options.js";
import type { RawOptions } from "../options.js";
import { historyOf } from "../run-history.js";
import type { Cell, CellResult } from "./cells.js";

const CLI = fileURLToPath(new URL("../cli.js", import.meta.url));

/**
 * Trains a cell.
 *
 * @param folder for the files of the run; must be empty
 * @throws Error when the process failed for another reason than a loss that is not finite
 */
export async function runCell(
  cell: Cell,
  training: RawOptions,
  folder: string,
): Promise<CellResult> {
  const options = optionTexts({ ...training, ...cell, workers: 1, out: folder });
  const { code, errors } = await runProcess(options);
  const metrics = code === 2 ? [] : readMetrics(join(folder, "metrics.jsonl"));
  const { lastEpoch, failure, seconds } = historyOf(metrics, []).of(cell.optimizer);
  const diverged = failure !== null;
  if (code !== 0 && !diverged) throw new Error(`a cell ended with code ${String(code)}: ${errors}`);
  const last = diverged ? null : lastEpoch;
  return {
    ...cell,
    diverged,
    testAccuracy: last?.testAccuracy ?? null,
    testLoss: last?.testLoss ?? null,
    stateBytes: last?.stateBytes ?? null,
    seconds,
  };
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
