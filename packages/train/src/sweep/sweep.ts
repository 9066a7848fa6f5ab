/** A sweep: the grid with one seed, then the best rates with the others; several cells at a time. */
import { rmSync } from "node:fs";
import { resolve } from "node:path";
import { fingerprint } from "../data/dataset.js";
import { loadDataset } from "../data/load.js";
import type { DataOptions } from "../data/load.js";
import { reloadDataset } from "../data/reload.js";
import { settingText } from "../describe.js";
import { TrainingError } from "../errors.js";
import { checkNewFolder } from "../new-folder.js";
import { checkOptions } from "../options.js";
import type { RawOptions } from "../options.js";
import { makePlan } from "../plan.js";
import { resumable, shellWord } from "../resumable.js";
import { duration, percent } from "../text.js";
import { cellKey, cellOf, choosingCells, testedCells } from "./cells.js";
import type { Cell, CellResult } from "./cells.js";
import { runCell } from "./run-cell.js";
import { writeSummary } from "./summary.js";
import { SweepFolder } from "./sweep-folder.js";
import { checkSweepOptions } from "./sweep-options.js";
import type { SweepOptions } from "./sweep-options.js";

export interface Sweep {
  options: SweepOptions;
  folder: SweepFolder;
}

/** Everything is checked here, before any training. */
export function startSweep(raw: RawOptions, out: string): Sweep {
  const path = resolve(out);
  checkNewFolder(path);
  const dataset = loadDataset(dataOptions(raw));
  const options = checkSweepOptions(raw);
  const { optimizers, batchSizes } = options.grid;
  const training = checkOptions({ ...options.training, optimizer: optimizers });
  for (const batchSize of batchSizes) makePlan({ ...training, batchSize }, dataset);
  const folder = SweepFolder.create(path, { options, fingerprint: fingerprint(dataset) });
  return { options, folder };
}

/** Opens a sweep whose folder is there, on the data that it was started with. */
export function resumeSweep(path: string): Sweep {
  const folder = SweepFolder.open(resolve(path));
  try {
    const { options, fingerprint: saved } = folder.readConfig();
    reloadDataset(dataOptions(options.training), { saved, folder: folder.path });
    return { options, folder };
  } catch (error) {
    folder.unlock();
    throw error;
  }
}

/** Any seed: what is compared is whether the data has changed. */
function dataOptions(raw: RawOptions): DataOptions {
  const { data, label, delimiter, header, missing } = raw;
  return { ...checkOptions({ data, label, delimiter, header, missing }), seed: 1 };
}

/**
 * Runs the cells that are not recorded yet, `jobs` at a time.
 *
 * @throws TrainingError after the others when one of them has no result
 */
export async function executeSweep(sweep: Sweep, jobs: number): Promise<void> {
  const { folder } = sweep;
  try {
    await resumable(resumeCommand(folder), async () => {
      console.log(`sweep: ${folder.path}`);
      await runCells(sweep, jobs);
      console.log(`summary: ${folder.path}/summary.md, summary.html, summary.json`);
    });
  } finally {
    folder.unlock();
  }
}

function resumeCommand({ path }: SweepFolder): string {
  return `layerwise-train sweep --resume ${shellWord(path)}`;
}

async function runCells({ options, folder }: Sweep, jobs: number): Promise<void> {
  const results = folder.readResults();
  await folder.removeCells();
  for (const cellsOf of [choosingCells, testedCells]) {
    const done = new Set(results.map((result) => cellKey(cellOf(result))));
    const cells = cellsOf(options, results).filter((cell) => !done.has(cellKey(cell)));
    const total = done.size + cells.length;
    let failures = 0;
    await inParallel(cells, jobs, async (cell) => {
      const cellFolder = folder.createCellFolder(cell);
      const result = await runCell(cell, options.training, cellFolder);
      rmSync(cellFolder, { recursive: true, force: true });
      if (typeof result === "string") {
        failures++;
        console.error(`${cellKey(cell)}: expected a result, got ${result}`);
        return;
      }
      folder.addResult(result);
      results.push(result);
      console.log(`${results.length}/${total}  ${resultLine(result)}`);
    });
    writeSummary(folder.path, options, results);
    // With missing cells, the best rates may be wrong.
    if (failures > 0) throw noResult(failures, folder);
  }
  await folder.removeCells();
}

function noResult(count: number, folder: SweepFolder): TrainingError {
  const cells = count === 1 ? "cell has" : "cells have";
  const message = `${count} ${cells} no result; try again with: ${resumeCommand(folder)}`;
  console.error(message);
  return new TrainingError(message);
}

/** Runs all cells. If one throws, running cells end and no other begins. */
async function inParallel(
  cells: readonly Cell[],
  jobs: number,
  run: (cell: Cell) => Promise<void>,
): Promise<void> {
  const waiting = [...cells];
  const work = async (): Promise<void> => {
    for (let cell = waiting.shift(); cell !== undefined; cell = waiting.shift()) {
      try {
        await run(cell);
      } catch (error) {
        waiting.length = 0;
        throw error;
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: jobs }, work));
  const failed = ends.find((end) => end.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

function resultLine(result: CellResult): string {
  const { optimizer, batchSize, lr, maxGradNorm, seed, seconds } = result;
  const setting = lr === null ? "no rate" : `rate ${settingText({ lr, maxGradNorm })}`;
  return `${optimizer}  batch ${batchSize}  ${setting}  seed ${seed}  ${outcomeOf(result)}  ${duration(seconds)}`;
}

function outcomeOf({ heldOutAccuracy, testAccuracy }: CellResult): string {
  if (testAccuracy !== null) return `test accuracy ${percent(testAccuracy)}`;
  return heldOutAccuracy === null ? "diverged" : `held-out accuracy ${percent(heldOutAccuracy)}`;
}
