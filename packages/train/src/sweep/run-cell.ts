/** One cell of a sweep: a training run in a process of its own. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { readMetrics } from "../metrics.js";
import { AUTO, optionName } from "../options.js";
import type { RawOptions } from "../options.js";
import { RunFolder } from "../run-folder.js";
import { SearchFile } from "../search/search-file.js";
import type { Cell, CellResult } from "./cells.js";

const CLI = fileURLToPath(new URL("../cli.js", import.meta.url));

/**
 * Trains a cell.
 *
 * @param path of a folder for the files of the run; must be empty
 * @throws Error when the process failed for another reason than a loss that is not finite
 */
export async function runCell(cell: Cell, training: RawOptions, path: string): Promise<CellResult> {
  const given = Object.entries(cell).filter(([, value]) => value !== null);
  const own = { ...Object.fromEntries(given), workers: 1, out: path };
  const { code, errors } = await runProcess(optionTexts({ ...training, ...own }));
  const failed = new Error(`${cell.optimizer}: a cell ended with code ${String(code)}: ${errors}`);
  if (code !== 0 && code !== 1) throw failed;
  const folder = RunFolder.open(path);
  const metrics = readMetrics(folder.metricsFile);
  const epochs = metrics.filter((line) => line.kind === "epoch");
  const diverged = metrics.some((line) => line.kind === "failed");
  if (diverged !== (code === 1)) throw failed;
  const last = diverged ? undefined : epochs.at(-1);
  const setting = folder.readConfig().settings[cell.optimizer];
  const search = new SearchFile(folder.searchFile).get(cell.optimizer);
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
    seconds: epochs.reduce((sum, { seconds }) => sum + seconds, search?.seconds ?? 0),
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
