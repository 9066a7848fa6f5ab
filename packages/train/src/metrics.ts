/** What a run writes down as it goes: one JSON object a line in metrics.jsonl. */
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  fstatSync,
  ftruncateSync,
  readFileSync,
} from "node:fs";
import type { GradientNoise, LayerReport } from "layerwise";
import { checkChoice, parseObject } from "./check.js";
import { UsageError } from "./errors.js";
import { openFile, writeFully, writing } from "./files.js";
import { OPTIMIZERS } from "./optimizers/names.js";
import type { OptimizerName } from "./optimizers/names.js";

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
  /** Smoothed over the last steps; null where a batch is one micro-batch. */
  noise: NoiseMetrics | null;
}

/** The gradient noise scale; see `gradientNoise` of layerwise. */
export interface NoiseMetrics extends GradientNoise {
  layers: { name: string; scale: number | null }[];
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
}

/** Training that could not go on. */
export interface FailureMetrics {
  kind: "failed";
  optimizer: OptimizerName;
  epoch: number;
  step: number;
  message: string;
}

export type Metrics = StepMetrics | EpochMetrics | FailureMetrics;

/** An open metrics.jsonl, to which lines are added. Its methods throw WriteErrors. */
export class MetricsFile {
  readonly #file: string;
  readonly #descriptor: number;
  #length: number;

  /**
   * @param length bytes to keep; what a killed run wrote after its last checkpoint goes
   * @throws UsageError when the file has fewer
   */
  constructor(file: string, length: number) {
    this.#file = file;
    this.#length = length;
    this.#descriptor = writing(file, () => openFile(file, constants.O_RDWR | constants.O_CREAT));
    const { size } = fstatSync(this.#descriptor);
    if (size < length) {
      closeSync(this.#descriptor);
      throw new UsageError(
        `${file}: expected the ${length} bytes that a checkpoint goes with, got ${size}`,
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

  add(metrics: Metrics): void {
    const line = Buffer.from(`${JSON.stringify(metrics)}\n`);
    writing(this.#file, () => {
      writeFully(this.#descriptor, line, this.#length);
    });
    this.#length += line.length;
  }

  /** Returns when everything is on the disk. */
  sync(): void {
    writing(this.#file, () => {
      fsyncSync(this.#descriptor);
    });
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

/**
 * Reads the lines back; a last line without its end, which a kill can leave, is left out.
 *
 * @throws UsageError that names the line which is none of ours
 */
export function readMetrics(file: string): Metrics[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
  return lines.map((line, index) => {
    const what = `${file}, line ${index + 1}`;
    const metrics = parseObject(what, line);
    checkChoice(`${what}: kind`, metrics.kind, ["step", "epoch", "failed"]);
    checkChoice(`${what}: optimizer`, metrics.optimizer, OPTIMIZERS);
    return metrics as unknown as Metrics;
  });
}
