/** One cell of a sweep: a training run in a process of its own. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { withoutMpi } from "layerwise/mpi";
import { UsageError } from "../errors.js";
import { readMetrics } from "../metrics.js";
import { AUTO, optionName } from "../options.js";
import type { RawOptions } from "../options.js";
import { RunFolder } from "../run-folder.js";
import { historyOf } from "../run-history.js";
import { SearchFile } from "../search/search-file.js";
import type { Cell, CellResult } from "./cells.js";

const CLI = fileURLToPath(new URL("../cli.js", import.meta.url));

/**
 * Trains a cell.
 *
 * @param path of a folder for the files of the run; must be empty
 * @returns the result, or why there is none: a loss that is not finite is a result, any other failure is not
 */
export async function runCell(
  cell: Cell,
  training: RawOptions,
  path: string,
): Promise<CellResult | string> {
  const given = Object.entries(cell).filter(([, value]) => value !== null);
  const own = { ...Object.fromEntries(given), workers: 1, out: path };
  const { code, signal, errors } = await runProcess(optionTexts({ ...training, ...own }));
  const end = [signal ?? `exit code ${String(code)}`, errors];
  try {
    const result = code === 0 || code === 1 ? readResult(cell, path) : null;
    if (result !== null && result.diverged === (code === 1)) return result;
  } catch (error) {
    // Damaged files of one cell must not end the others.
    if (!(error instanceof UsageError)) throw error;
    end.push(error.message);
  }
  return end.filter((text) => text !== "").join(": ");
}

/** The result in a cell's files; null when the run has no end. Writes nothing: the disk may be full. */
export function readResult(cell: Cell, path: string): CellResult | null {
  const folder = RunFolder.ended(path);
  const history = historyOf(readMetrics(folder.metricsFile), []).of(cell.optimizer);
  const diverged = history.failure !== null;
  const last = diverged ? null : history.lastEpoch;
  if (last === null && !diverged) return null;
  const setting = folder.readConfig().settings[cell.optimizer];
  const search = SearchFile.read(folder.searchFile).get(cell.optimizer);
  const accuracy = last?.testAccuracy ?? null;
  return {
    ...cell,
    lr: setting?.lr ?? null,
    maxGradNorm: setting?.maxGradNorm ?? null,
    searched: cell.lr === AUTO,
    diverged,
    heldOutAccuracy: cell.holdOut ? accuracy : null,
    testAccuracy: cell.holdOut ? null : accuracy,
    testLoss: cell.holdOut ? null : (last?.testLoss ?? null),
    stateBytes: last?.stateBytes ?? null,
    seconds: history.seconds + (search?.seconds ?? 0),
    trials: search?.trials ?? [],
    atEdge: search?.atEdge ?? false,
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
      env: withoutMpi(process.env),
    });
    let errors = "";
    child.stderr!.on("data", (chunk: Buffer) => (errors += chunk.toString()));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      resolve({ code, signal, errors: errors.trim() });
    });
  });
}
