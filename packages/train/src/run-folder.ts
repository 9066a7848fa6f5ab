/** The files of a run: config.json, metrics.jsonl, a checkpoint for each optimizer, report.html. */
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { decodeCheckpoint, encodeCheckpoint } from "layerwise/checkpoint";
import type { Checkpoint } from "layerwise/checkpoint";
import { checkInteger, checkObject, checkText } from "./check.js";
import { readConfigFile } from "./config-file.js";
import { UsageError, messageOf } from "./errors.js";
import { readIfThere, removePartials, writeAtomically, writing } from "./files.js";
import { FolderLock } from "./folder-lock.js";
import { takeNewFolder } from "./new-folder.js";
import type { OptimizerName } from "./optimizers/names.js";
import { checkOptions } from "./options.js";
import type { TrainOptions } from "./options.js";
import type { PlannedRun, Settings } from "./plan.js";
import { LAST_RUNG } from "./search/rate-search.js";
import type { RateSearch } from "./search/rate-search.js";
import { checkedSetting } from "./search/search-file.js";

const FORMAT = "layerwise-train.run";
const VERSION = 2;
/** What Node can read into one buffer. */
const MAX_CHECKPOINT_BYTES = 2 ** 32 - 1;

/** How far an optimizer has come. */
export interface Progress {
  /** Epochs that are done. */
  epoch: number;
  step: number;
  /** Length of metrics.jsonl at that time. */
  metricsBytes: number;
}

/** A checkpoint as it is on disk: weights and state, and how far training was. */
export interface SavedRun {
  checkpoint: Checkpoint;
  progress: Progress;
}

/** The content of config.json. */
export interface SavedConfig {
  options: TrainOptions;
  /** Rates and clipping as they were given, documented or found, whatever the defaults are now. */
  settings: Settings;
  fingerprint: string;
}

export class RunFolder {
  readonly path: string;
  /** Null when the folder is only read. */
  readonly #lock: FolderLock | null;

  private constructor(path: string, lock: FolderLock | null) {
    this.path = path;
    this.#lock = lock;
  }

  /**
   * Makes a folder for a new run, which this process owns until {@link unlock}.
   *
   * @throws UsageError when it holds anything, can't be written, or another process uses it
   */
  static create(path: string, run: PlannedRun): RunFolder {
    return takeNewFolder(path, (lock) => {
      const folder = new RunFolder(path, lock);
      folder.writeConfig(run);
      return folder;
    });
  }

  /**
   * Writes config.json; called again when a search has found a setting.
   *
   * @param searches for human readers: scores of the chosen setting's neighbours; search.json has all trials
   */
  writeConfig({ plan, settings }: PlannedRun, searches: readonly RateSearch[] = []): void {
    const { options, model, fingerprint } = plan;
    const config = {
      format: FORMAT,
      version: VERSION,
      options: givenOptions(options),
      settings,
      searches: searches.map(({ optimizer, chosen, seconds, atEdge, trials }) => {
        const compared = trials
          .filter(({ rung }) => rung === LAST_RUNG)
          .map(({ lr, maxGradNorm, accuracy }) => ({ lr, maxGradNorm, accuracy }));
        return { optimizer, chosen, atEdge, seconds, compared };
      }),
      model,
      fingerprint,
    };
    writeAtomically(this.configFile, `${JSON.stringify(config, null, 2)}\n`);
  }

  /**
   * Opens the folder of a run, which this process owns until {@link unlock}.
   *
   * @throws UsageError when no run is there, or another process uses it
   */
  static open(path: string): RunFolder {
    if (!existsSync(join(path, "config.json"))) {
      throw new UsageError(
        `--resume: expected the folder of a run, got ${path}, which has no config.json`,
      );
    }
    const folder = new RunFolder(path, FolderLock.take(path));
    removePartials(path);
    if (existsSync(folder.#checkpoints)) removePartials(folder.#checkpoints);
    return folder;
  }

  /** Opens a run that has ended for reading only: writes nothing, not even a lock. */
  static ended(path: string): RunFolder {
    return new RunFolder(path, null);
  }

  /** Lets other processes have the folder. */
  unlock(): void {
    this.#lock?.release();
  }

  get configFile(): string {
    return join(this.path, "config.json");
  }

  get metricsFile(): string {
    return join(this.path, "metrics.jsonl");
  }

  get reportFile(): string {
    return join(this.path, "report.html");
  }

  get searchFile(): string {
    return join(this.path, "search.json");
  }

  checkpointFile(optimizer: OptimizerName): string {
    return join(this.#checkpoints, `${optimizer}.safetensors`);
  }

  get #checkpoints(): string {
    return join(this.path, "checkpoints");
  }

  /** @throws UsageError when config.json has another format, or a wrong option */
  readConfig(): SavedConfig {
    const config = readConfigFile(this.configFile, { format: FORMAT, version: VERSION });
    const fingerprint = checkText(`${this.configFile}: fingerprint`, config.fingerprint);
    const options = checkOptions(checkObject(this.configFile, config.options));
    const saved = checkObject(this.configFile, config.settings);
    const settings = options.optimizer
      .filter((name) => saved[name] !== undefined)
      .map((name) => [name, checkedSetting(`${this.configFile}: ${name}`, saved[name])]);
    return { options, settings: Object.fromEntries(settings) as Settings, fingerprint };
  }

  /** Writes weights, state and progress; after a kill the file is this one or the one before. */
  writeCheckpoint(
    optimizer: OptimizerName,
    { step, layers, tensors, metadata }: Checkpoint,
    progress: Progress,
  ): void {
    writing(this.#checkpoints, () => mkdirSync(this.#checkpoints, { recursive: true }));
    const bytes = encodeCheckpoint(
      { step, layers },
      {
        ...(tensors === undefined ? {} : { tensors }),
        metadata: { ...metadata, ...progressTexts(progress) },
      },
    );
    writeAtomically(this.checkpointFile(optimizer), bytes);
  }

  /**
   * The last checkpoint of an optimizer, null when there is none.
   *
   * @throws UsageError when the file is damaged
   */
  readCheckpoint(optimizer: OptimizerName): SavedRun | null {
    const bytes = this.checkpointBytes(optimizer);
    return bytes === null ? null : decodeSavedRun(this.checkpointFile(optimizer), bytes);
  }

  /** The file of {@link readCheckpoint} as it is. */
  checkpointBytes(optimizer: OptimizerName): Uint8Array | null {
    return readIfThere(this.checkpointFile(optimizer), MAX_CHECKPOINT_BYTES);
  }
}

/** @throws UsageError that names the file when it is no checkpoint of a run */
export function decodeSavedRun(file: string, bytes: Uint8Array): SavedRun {
  try {
    const checkpoint = decodeCheckpoint(bytes);
    return { checkpoint, progress: progressOf(checkpoint.metadata ?? {}) };
  } catch (error) {
    throw new UsageError(`${file}: expected a checkpoint of this run, got ${messageOf(error)}`);
  }
}

/** Options that have a value; the others mean their defaults. */
function givenOptions(options: TrainOptions): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null));
}

function progressTexts(progress: Progress): Record<string, string> {
  return Object.fromEntries(Object.entries(progress).map(([name, value]) => [name, String(value)]));
}

function progressOf(metadata: Readonly<Record<string, string>>): Progress {
  const read = (name: keyof Progress): number =>
    checkInteger(name, metadata[name], { from: 0, to: Number.MAX_SAFE_INTEGER });
  return { epoch: read("epoch"), step: read("step"), metricsBytes: read("metricsBytes") };
}
