/** One cell of a sweep: a training run in a process of its own. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readMetrics } from "../metrics.js";
import { optionName } from "../options.js";
import type { RawOptions } from "../options.js";
import type { Cell, CellResult } from "./cells.js";

const CLI = fileURLToPath(new URL("../cli.js", import.meta.url));

/**
 * Trains a cell.
 *
 * @param folder for the files of the run; must be empty
 * @returns the result, or why there is none: a loss that is not finite is a result, any other failure is not
 */
export async function runCell(
  cell: Cell,
  training: RawOptions,
  folder: string,
): Promise<CellResult | string> {
  const options = optionTexts({ ...training, ...cell, workers: 1, out: folder });
  const { code, signal, errors } = await runProcess(options);
  const metrics = code === 2 ? [] : readMetrics(join(folder, "metrics.jsonl"));
  const epochs = metrics.filter((line) => line.kind === "epoch");
  const diverged = metrics.some((line) => line.kind === "failed");
  const last = diverged ? undefined : epochs.at(-1);
  if (!diverged && (code !== 0 || last === undefined)) {
    const end = signal ?? `exit code ${String(code)}`;
    return errors === "" ? end : `${end}: ${errors}`;
  }
  return {
    ...cell,
    diverged,
    testAccuracy: last?.testAccuracy ?? null,
    testLoss: last?.testLoss ?? null,
    stateBytes: last?.stateBytes ?? null,
    seconds: epochs.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}

/** { batchSize: 256, nesterov: true } → --batch-size 256 --nesterov. */
function optionTexts(options: RawOptions): string[] {
  return Object.entries(options).flatMap(([name, value]) => {
    if (value === false) return [];
    return value === true ? [optionName(name)] : [optionName(name), String(value)];
  });
}

interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  errors: string;
}

/** Runs this command line again; with the channel, the child notices when this process is killed. */
function runProcess(args: readonly string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CLI, ...args], {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    let errors = "";
    child.stderr!.on("data", (chunk: Buffer) => (errors += chunk.toString()));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      resolve({ code, signal, errors: errors.trim() });
    });
  });
}
