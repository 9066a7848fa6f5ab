/** The files of a run: config.json, metrics.jsonl, a checkpoint for each optimizer, report.html. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { decodeCheckpoint, encodeCheckpoint } from "layerwise/checkpoint";
import type { Checkpoint } from "layerwise/checkpoint";
import { checkInteger, checkObject, parseObject } from "./check.js";
import { UsageError, messageOf } from "./errors.js";
import { readLimited, writeAtomically } from "./files.js";
import type { OptimizerName } from "./optimizers/names.js";
import { checkOptions } from "./options.js";
import type { TrainOptions } from "./options.js";
import type { PlannedRun, Settings } from "./plan.js";
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

/** What config.json says. */
export interface SavedConfig {
  options: TrainOptions;
  /** Rates and clipping as they were given, documented or found, whatever the defaults are now. */
  settings: Settings;
  fingerprint: string;
}

export class RunFolder {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * Makes a folder for a new run.
   *
   * @throws UsageError when it holds anything
   */
  static create(path: string, run: PlannedRun): RunFolder {
    try {
      mkdirSync(path, { recursive: true });
    } catch (error) {
      throw new UsageError(`--out: ${path} can't be made: ${messageOf(error)}`);
    }
    const folder = new RunFolder(path);
    folder.writeConfig(run);
    return folder;
  }

  /** Writes what a run is, again when a search has found a setting. */
  writeConfig({ plan, settings }: PlannedRun): void {
    const { options, model, fingerprint } = plan;
    const config = {
      format: FORMAT,
      version: VERSION,
      options: givenOptions(options),
      settings,
      model,
      fingerprint,
    };
    writeAtomically(this.configFile, `${JSON.stringify(config, null, 2)}\n`);
  }

  /** @throws UsageError when no run is there */
  static open(path: string): RunFolder {
    const folder = new RunFolder(path);
    if (existsSync(folder.configFile)) return folder;
    throw new UsageError(`--resume: ${path} has no config.json; allowed is the folder of a run`);
  }

  /**
   * Keeps other processes out until {@link unlock}: two that train into one folder would mix their lines.
   *
   * @throws UsageError when a process that is alive holds the lock; that of a killed one is taken over
   */
  lock(): void {
    const holder = this.#lockHolder();
    if (holder !== null && holder !== process.pid && isAlive(holder)) {
      throw new UsageError(
        `${this.path}: process ${holder} trains there; allowed is one at a time (if it does not, remove ${this.#lockFile})`,
      );
    }
    writeAtomically(this.#lockFile, String(process.pid));
  }

  unlock(): void {
    rmSync(this.#lockFile, { force: true });
  }

  get #lockFile(): string {
    return join(this.path, "lock");
  }

  #lockHolder(): number | null {
    if (!existsSync(this.#lockFile)) return null;
    const holder = Number(readFileSync(this.#lockFile, "utf8"));
    return Number.isInteger(holder) && holder > 0 ? holder : null;
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
    return join(this.path, "checkpoints", `${optimizer}.safetensors`);
  }

  /** @throws UsageError when config.json is none of ours, or an option in it is wrong */
  readConfig(): SavedConfig {
    const config = parseObject(this.configFile, readFileSync(this.configFile, "utf8"));
    if (config.format !== FORMAT || config.version !== VERSION) {
      throw new UsageError(
        `${this.configFile}: format ${JSON.stringify(config.format)}, version ${JSON.stringify(config.version)}; allowed is ${FORMAT}, version ${VERSION}`,
      );
    }
    const { fingerprint } = config;
    if (typeof fingerprint !== "string") {
      throw new UsageError(`${this.configFile}: has no fingerprint of the data`);
    }
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
    mkdirSync(join(this.path, "checkpoints"), { recursive: true });
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
    const file = this.checkpointFile(optimizer);
    if (!existsSync(file)) return null;
    const bytes = readLimited(file, MAX_CHECKPOINT_BYTES);
    try {
      const checkpoint = decodeCheckpoint(bytes);
      return { checkpoint, progress: progressOf(checkpoint.metadata ?? {}) };
    } catch (error) {
      throw new UsageError(`${file}: ${messageOf(error)}`);
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives, and belongs to somebody else.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/** Whether a folder can take a new run. */
export function checkNewFolder(path: string): void {
  if (!existsSync(path)) return;
  if (existsSync(join(path, "config.json"))) {
    throw new UsageError(
      `--out: ${path} already holds a run; allowed is a new folder, or --resume ${path}`,
    );
  }
  // A kill while config.json was written leaves this; no run has begun then.
  const others = readdirSync(path).filter((name) => name !== "config.json.partial");
  if (others.length > 0) {
    throw new UsageError(`--out: ${path} is not empty; allowed is a new or empty folder`);
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
