/** metrics.jsonl: what a run records, one JSON object a line. */
import { closeSync, constants, existsSync, fsyncSync, ftruncateSync, readSync } from "node:fs";
import type { GradientNoise, LayerReport } from "layerwise";
import { checkChoice, checkInteger, checkObject, checkText, parseObject } from "./check.js";
import { checkConfusion } from "./confusion.js";
import type { Confusion } from "./confusion.js";
import { UsageError } from "./errors.js";
import { openFile, writeFully, writing } from "./files.js";
import { readLines } from "./lines.js";
import { OPTIMIZERS } from "./optimizers/names.js";
import type { OptimizerName } from "./optimizers/names.js";

/** The gradient noise scale, smoothed over the last steps; see `gradientNoise` of layerwise. */
export interface NoiseMetrics extends GradientNoise {
  layers: { name: string; scale: number | null }[];
}

/** One step of an optimizer. */
export interface StepMetrics {
  kind: "step";
  optimizer: OptimizerName;
  /** Counted from 1. */
  epoch: number;
  step: number;
  lr: number;
  /** Mean over the batch, before the step. */
  loss: number;
  gradNorm: number;
  gradientMs: number;
  optimizerMs: number;
  layers: LayerReport[];
  /** null when the batch is a single micro-batch. */
  noise: NoiseMetrics | null;
}

/** One epoch of an optimizer. */
export interface EpochMetrics {
  kind: "epoch";
  optimizer: OptimizerName;
  epoch: number;
  step: number;
  /** Means over the samples of the epoch, each before the step that it was in. */
  trainLoss: number;
  trainAccuracy: number;
  testLoss: number;
  testAccuracy: number;
  seconds: number;
  samplesPerSecond: number;
  stateBytes: number;
  /** What the test samples of each class were taken for. Runs of version 0.1 have none. */
  confusion?: Confusion;
}

/** Training that failed. */
export interface FailureMetrics {
  kind: "failed";
  optimizer: OptimizerName;
  epoch: number;
  step: number;
  message: string;
}

export type Metrics = StepMetrics | EpochMetrics | FailureMetrics;

/** The longest line: a step of more than 10,000 layers. */
const MAX_LINE_BYTES = 2 ** 24;

/** An open metrics.jsonl, to which lines are added. */
export class MetricsFile {
  readonly #file: string;
  readonly #descriptor: number;
  #length: number;

  /**
   * @param length bytes to keep; lines that a killed run wrote after its last checkpoint are removed
   * @throws UsageError when the file does not have that many bytes of whole lines
   */
  constructor(file: string, length: number) {
    this.#file = file;
    this.#length = length;
    this.#descriptor = writing(file, () => openFile(file, constants.O_RDWR | constants.O_CREAT));
    if (!endsALine(this.#descriptor, length)) {
      closeSync(this.#descriptor);
      throw new UsageError(
        `${file}: expected lines of ${length} bytes, which a checkpoint goes with, got another file`,
      );
    }
    writing(file, () => {
      ftruncateSync(this.#descriptor, length);
    });
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** @throws WriteError when the line can't be written, for example on a full disk */
  add(metrics: Metrics): void {
    const line = Buffer.from(`${JSON.stringify(metrics)}\n`);
    writing(this.#file, () => {
      writeFully(this.#descriptor, line, this.#length);
    });
    this.#length += line.length;
  }

  /** Returns once everything is on disk. */
  sync(): void {
    writing(this.#file, () => {
      fsyncSync(this.#descriptor);
    });
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

/** Whether a file has at least so many bytes, and a line ends there. */
function endsALine(descriptor: number, length: number): boolean {
  if (length === 0) return true;
  const byte = Buffer.alloc(1);
  return readSync(descriptor, byte, 0, 1, length - 1) === 1 && byte.toString() === "\n";
}

/**
 * Reads the lines back, one at a time: a file may be larger than the memory. A last line without its end,
 * which a kill can leave, is left out.
 *
 * @throws UsageError that names the file and a line of another form
 */
export function* readMetrics(file: string): Generator<Metrics> {
  if (!existsSync(file)) return;
  for (const { number, text } of readLines(file, MAX_LINE_BYTES)) {
    const what = `${file}, line ${number}`;
    yield checkMetrics(what, parseObject(what, text));
  }
}

/** The numbers of each kind of line. */
const NUMBERS = {
  step: ["lr", "loss", "gradNorm", "gradientMs", "optimizerMs"],
  epoch: [
    "trainLoss",
    "trainAccuracy",
    "testLoss",
    "testAccuracy",
    "seconds",
    "samplesPerSecond",
    "stateBytes",
  ],
  failed: [],
};

function checkMetrics(what: string, line: Record<string, unknown>): Metrics {
  const kind = checkChoice(`${what}: kind`, line.kind, ["step", "epoch", "failed"]);
  checkChoice(`${what}: optimizer`, line.optimizer, OPTIMIZERS);
  for (const field of ["epoch", "step"]) {
    checkInteger(`${what}: ${field}`, line[field], { from: 0, to: Number.MAX_SAFE_INTEGER });
  }
  for (const field of NUMBERS[kind]) checkFiniteOrNull(`${what}: ${field}`, line[field], kind);
  if (kind === "failed") checkText(`${what}: message`, line.message);
  if (kind === "epoch" && line.confusion !== undefined) {
    checkConfusion(`${what}: confusion`, line.confusion);
  }
  if (kind === "step") {
    checkLayers(`${what}: layers`, line.layers);
    const noise = line.noise ?? null;
    if (noise !== null) checkLayers(`${what}: noise`, checkObject(`${what}: noise`, noise).layers);
  }
  return line as unknown as Metrics;
}

/** A norm that overflowed is null in JSON; an epoch is written only when its numbers are finite. */
function checkFiniteOrNull(what: string, value: unknown, kind: Metrics["kind"]): void {
  if (typeof value === "number" || (kind === "step" && value === null)) return;
  throw new UsageError(`${what}: expected a number, got ${JSON.stringify(value)}`);
}

function checkLayers(what: string, layers: unknown): void {
  if (!Array.isArray(layers)) {
    throw new UsageError(`${what}: expected an array, got ${JSON.stringify(layers)}`);
  }
  for (const layer of layers) checkText(`${what}: name`, checkObject(what, layer).name);
}
