/** The files of a sweep: sweep.json, results.jsonl, the cells that run, and the summary. */
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { checkObject } from "../check.js";
import { UsageError, messageOf } from "../errors.js";
import { writeAtomically } from "../files.js";
import { cellKey } from "./cells.js";
import type { Cell, CellResult } from "./cells.js";
import { checkSavedSweep } from "./sweep-options.js";
import type { SweepOptions } from "./sweep-options.js";

const FORMAT = "layerwise-train.sweep";
const VERSION = 1;

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

  cellFolder(cell: Cell): string {
    return join(this.path, "cells", cellKey(cell));
  }

  readOptions(): SweepOptions {
    const config = this.#parse(readFileSync(this.configFile, "utf8"));
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
      .map((line) => this.#parse(line) as unknown as CellResult);
  }

  /** Records a cell; its folder is not needed any more. */
  addResult(result: CellResult): void {
    appendFileSync(this.resultsFile, `${JSON.stringify(result)}\n`);
    rmSync(this.cellFolder(result), { recursive: true, force: true });
  }

  #parse(text: string): Record<string, unknown> {
    try {
      return checkObject(this.path, JSON.parse(text));
    } catch (error) {
      if (error instanceof UsageError) throw error;
      throw new UsageError(`${this.path}: ${messageOf(error)}`);
    }
  }
}
