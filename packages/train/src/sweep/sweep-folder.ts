/** The files of a sweep: sweep.json, results.jsonl, the cells that run, and the summary. */
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseObject } from "../check.js";
import { UsageError, messageOf } from "../errors.js";
import { writeAtomically } from "../files.js";
import { cellKey } from "./cells.js";
import type { Cell, CellResult } from "./cells.js";
import { checkSavedSweep } from "./sweep-options.js";
import type { SweepOptions } from "./sweep-options.js";

const FORMAT = "layerwise-train.sweep";
const VERSION = 1;

/** 5 s in all: a cell notices at once that nobody listens, and ends with its step. */
const REMOVALS = 50;
const REMOVAL_DELAY_MS = 100;

export class SweepFolder {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static create(path: string, { grid, training }: SweepOptions): SweepFolder {
    try {
      mkdirSync(path, { recursive: true });
    } catch (error) {
      throw new UsageError(`--out: ${path} can't be made: ${messageOf(error)}`);
    }
    const folder = new SweepFolder(path);
    const config = { format: FORMAT, version: VERSION, grid, training };
    writeAtomically(folder.configFile, `${JSON.stringify(config, null, 2)}\n`);
    return folder;
  }

  /** @throws UsageError when no sweep is there */
  static open(path: string): SweepFolder {
    const folder = new SweepFolder(path);
    if (existsSync(folder.configFile)) return folder;
    throw new UsageError(`--resume: ${path} has no sweep.json; allowed is the folder of a sweep`);
  }

  get configFile(): string {
    return join(this.path, "sweep.json");
  }

  get resultsFile(): string {
    return join(this.path, "results.jsonl");
  }

  /**
   * A new folder for a cell. Never one that was there: the cell of a sweep that was killed may train on for
   * a moment, and writes into its own.
   */
  createCellFolder(cell: Cell): string {
    mkdirSync(this.#cellsFolder, { recursive: true });
    return mkdtempSync(join(this.#cellsFolder, `${cellKey(cell)}-`));
  }

  /** Removes what is left of cells: of each, results.jsonl has all that counts. */
  async removeCells(): Promise<void> {
    // The cells of a sweep that was killed write on for a moment: a folder may fill again while it is emptied.
    for (let attempts = REMOVALS; ; attempts--) {
      try {
        rmSync(this.#cellsFolder, { recursive: true, force: true });
        return;
      } catch (error) {
        if (attempts === 1 || (error as NodeJS.ErrnoException).code !== "ENOTEMPTY") throw error;
      }
      await sleep(REMOVAL_DELAY_MS);
    }
  }

  get #cellsFolder(): string {
    return join(this.path, "cells");
  }

  readOptions(): SweepOptions {
    const config = parseObject(this.configFile, readFileSync(this.configFile, "utf8"));
    if (config.format !== FORMAT || config.version !== VERSION) {
      throw new UsageError(`${this.configFile}: allowed is ${FORMAT}, version ${VERSION}`);
    }
    try {
      return checkSavedSweep(config);
    } catch (error) {
      throw new UsageError(`${this.configFile}: ${messageOf(error)}`);
    }
  }

  /** What was recorded; a last line without its end, which a kill can leave, is taken away. */
  readResults(): CellResult[] {
    if (!existsSync(this.resultsFile)) return [];
    const text = readFileSync(this.resultsFile, "utf8");
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    if (whole !== text) writeAtomically(this.resultsFile, whole);
    return whole
      .split("\n")
      .slice(0, -1)
      .map((line) => parseObject(this.resultsFile, line) as unknown as CellResult);
  }

  addResult(result: CellResult): void {
    appendFileSync(this.resultsFile, `${JSON.stringify(result)}\n`, { flush: true });
  }
}
