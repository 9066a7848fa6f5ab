/** The files of a sweep: sweep.json, results.jsonl, the cells that run, and the summary. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { checkText, parseObject } from "../check.js";
import { readConfigFile } from "../config-file.js";
import { UsageError, messageOf } from "../errors.js";
import { appendLine, readIfThere, removePartials, writeAtomically, writing } from "../files.js";
import { FolderLock } from "../folder-lock.js";
import { takeNewFolder } from "../new-folder.js";
import { cellKey } from "./cells.js";
import type { Cell, CellResult } from "./cells.js";
import { checkResult } from "./saved-result.js";
import { checkSavedSweep } from "./sweep-options.js";
import type { SweepOptions } from "./sweep-options.js";

const FORMAT = "layerwise-train.sweep";
const VERSION = 1;

/** A result is a few KB with its trials. */
const MAX_RESULTS_BYTES = 2 ** 28;

/** 5 s in all: a cell notices at once that its sweep is gone, and ends after its step. */
const REMOVALS = 50;
const REMOVAL_DELAY_MS = 100;

/** What sweep.json says. */
export interface SavedSweep {
  readonly options: SweepOptions;
  /** Of the data. */
  readonly fingerprint: string;
}

export class SweepFolder {
  readonly path: string;
  readonly #lock: FolderLock;

  private constructor(path: string, lock: FolderLock) {
    this.path = path;
    this.#lock = lock;
  }

  /**
   * Makes a folder for a new sweep, which this process owns until {@link unlock}.
   *
   * @throws UsageError when it holds anything, can't be written, or another process uses it
   */
  static create(path: string, { options, fingerprint }: SavedSweep): SweepFolder {
    const config = { format: FORMAT, version: VERSION, ...options, fingerprint };
    return takeNewFolder(path, (lock) => {
      const folder = new SweepFolder(path, lock);
      writeAtomically(folder.configFile, `${JSON.stringify(config, null, 2)}\n`);
      return folder;
    });
  }

  /**
   * Opens the folder of a sweep, which this process owns until {@link unlock}.
   *
   * @throws UsageError when no sweep is there, or another process uses it
   */
  static open(path: string): SweepFolder {
    if (!existsSync(join(path, "sweep.json"))) {
      throw new UsageError(
        `--resume: expected the folder of a sweep, got ${path}, which has no sweep.json`,
      );
    }
    const folder = new SweepFolder(path, FolderLock.take(path));
    removePartials(path);
    return folder;
  }

  /** Lets other processes have the folder. */
  unlock(): void {
    this.#lock.release();
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
    return writing(this.#cellsFolder, () => {
      mkdirSync(this.#cellsFolder, { recursive: true });
      return mkdtempSync(join(this.#cellsFolder, `${cellKey(cell)}-`));
    });
  }

  /** Removes the folders of cells; results.jsonl has everything of value. */
  async removeCells(): Promise<void> {
    // Cells of a killed sweep write for another moment, so a folder may fill again while it is emptied.
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

  /** @throws UsageError when sweep.json has another format, or a wrong option */
  readConfig(): SavedSweep {
    const config = readConfigFile(this.configFile, { format: FORMAT, version: VERSION });
    try {
      const fingerprint = checkText("fingerprint", config.fingerprint);
      return { options: checkSavedSweep(config), fingerprint };
    } catch (error) {
      throw new UsageError(`${this.configFile}: ${messageOf(error)}`);
    }
  }

  /**
   * The recorded results. A last line without its end, which a kill can leave, is removed.
   *
   * @throws UsageError that names a line that is not a result
   */
  readResults(): CellResult[] {
    const text = readIfThere(this.resultsFile, MAX_RESULTS_BYTES)?.toString() ?? "";
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    if (whole !== text) writeAtomically(this.resultsFile, whole);
    const lines = whole.split("\n").slice(0, -1);
    return lines.map((line, index) => {
      const what = `${this.resultsFile}, line ${index + 1}`;
      return checkResult(what, parseObject(what, line));
    });
  }

  addResult(result: CellResult): void {
    appendLine(this.resultsFile, JSON.stringify(result));
  }
}
