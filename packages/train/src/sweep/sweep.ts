/** A sweep: the grid with one seed, then the best rates with the others; several cells at a time. */
import { rmSync } from "node:fs";
import { resolve } from "node:path";
import { loadDataset } from "../data/load.js";
import { checkOptions } from "../options.js";
import type { RawOptions } from "../options.js";
import { makePlan } from "../plan.js";
import { checkNewFolder } from "../run-folder.js";
import { duration, percent } from "../text.js";
import { cellKey, gridCells, repeatedCells } from "./cells.js";
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
  const { data, label, delimiter, header, missing } = raw;
  const ofData = checkOptions({ data, label, delimiter, header, missing });
  const dataset = loadDataset({ ...ofData, seed: 1 });
  const options = checkSweepOptions(raw, dataset.train.labels.length);
  const { optimizers, batchSizes } = options.grid;
  const training = checkOptions({ ...options.training, optimizer: optimizers });
  for (const batchSize of batchSizes) makePlan({ ...training, batchSize }, dataset);
  return { options, folder: SweepFolder.create(path, options) };
}

export function resumeSweep(path: string): Sweep {
  const folder = SweepFolder.open(resolve(path));
  return { options: folder.readOptions(), folder };
}

/** Runs the cells that are not recorded yet, `jobs` at a time. */
export async function executeSweep({ options, folder }: Sweep, jobs: number): Promise<void> {
  console.log(`sweep: ${folder.path}`);
  const results = folder.readResults();
  await folder.removeCells();
  for (const cellsOf of [gridCells, repeatedCells]) {
    const done = new Set(results.map(cellKey));
    const cells = cellsOf(options, results).filter((cell) => !done.has(cellKey(cell)));
    const total = done.size + cells.length;
    await inParallel(cells, jobs, async (cell) => {
      const cellFolder = folder.createCellFolder(cell);
      const result = await runCell(cell, options.training, cellFolder);
      folder.addResult(result);
      rmSync(cellFolder, { recursive: true, force: true });
      results.push(result);
      console.log(`${results.length}/${total}  ${resultLine(result)}`);
    });
    writeSummary(folder.path, options, results);
  }
  await folder.removeCells();
  console.log(`summary: ${folder.path}/summary.md, summary.html, summary.json`);
}

/** The order of the results does not matter: tables and charts sort them. */
async function inParallel(
  cells: readonly Cell[],
  jobs: number,
  run: (cell: Cell) => Promise<void>,
): Promise<void> {
  const waiting = [...cells];
  const work = async (): Promise<void> => {
    for (let cell = waiting.shift(); cell !== undefined; cell = waiting.shift()) await run(cell);
  };
  await Promise.all(Array.from({ length: jobs }, work));
}

function resultLine({ diverged, testAccuracy, seconds, ...cell }: CellResult): string {
  const outcome = diverged ? "diverged" : `test accuracy ${percent(testAccuracy!)}`;
  return `${cell.optimizer}  batch ${cell.batchSize}  rate ${cell.lr}  seed ${cell.seed}  ${outcome}  ${duration(seconds)}`;
}
