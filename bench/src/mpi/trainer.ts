/** Samples a second of `layerwise-train`, on one process and on two, each with one gradient thread. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { fillNormal } from "../random.js";
import { launch } from "./run-job.js";
import type { Library } from "./task.js";

const PROGRAM = fileURLToPath(new URL("../../../packages/train/dist/cli.js", import.meta.url));

/** Sizes of MNIST's images. */
const SIDE = 28;
const CLASSES = 10;
const TRAINING_SAMPLES = 32_768;
const TEST_SAMPLES = 1024;
const BATCH = 8192;
/** The first epoch warms up. */
const EPOCHS = 3;

export interface TrainerRun {
  readonly processes: number;
  readonly round: number;
  /** One number for each epoch but the first. */
  readonly samplesPerSecond: readonly number[];
}

/** What the trainer writes at the end of each epoch. */
interface Epoch {
  readonly kind: string;
  readonly trainLoss: number;
  readonly testLoss: number;
  readonly samplesPerSecond: number;
}

/** Runs in turn. @throws Error when two processes do not end with the losses of one, to the bit */
export async function timeTrainer(library: Library, rounds: number): Promise<TrainerRun[]> {
  const folder = mkdtempSync(join(tmpdir(), "layerwise-bench-"));
  try {
    writeImages(folder, "train", TRAINING_SAMPLES);
    writeImages(folder, "t10k", TEST_SAMPLES);
    const runs: TrainerRun[] = [];
    const losses = new Set<string>();
    for (let round = 0; round < rounds; round++) {
      for (const processes of [1, 2]) {
        const out = join(folder, `round${round}-processes${processes}`);
        await launch(library, processes, [PROGRAM, ...optionsOf(folder, out)]);
        const epochs = epochsOf(out);
        const last = epochs.at(-1)!;
        losses.add(`${last.trainLoss} ${last.testLoss}`);
        const samplesPerSecond = epochs.slice(1).map((epoch) => epoch.samplesPerSecond);
        runs.push({ processes, round, samplesPerSecond });
      }
    }
    if (losses.size !== 1) {
      throw new Error(`trainer: expected the same losses, got ${[...losses].join("; ")}`);
    }
    return runs;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function optionsOf(data: string, out: string): string[] {
  return [
    ...["--data", data, "--out", out, "--optimizer", "lars", "--lr", "0.1", "--seed", "1"],
    ...["--batch-size", String(BATCH), "--epochs", String(EPOCHS), "--workers", "1"],
  ];
}

function epochsOf(out: string): Epoch[] {
  const lines = readFileSync(join(out, "metrics.jsonl"), "utf8").trim().split("\n");
  const epochs = lines
    .map((line) => JSON.parse(line) as Epoch)
    .filter(({ kind }) => kind === "epoch");
  if (epochs.length !== EPOCHS) {
    throw new Error(`trainer: expected ${EPOCHS} epochs, got ${epochs.length}`);
  }
  return epochs;
}

/** Seeded noise in MNIST's format: how fast a step is does not depend on what the images show. */
function writeImages(folder: string, name: string, samples: number): void {
  const noise = new Float32Array(samples * SIDE * SIDE);
  fillNormal(noise, 40, samples);
  const images = Buffer.alloc(16 + noise.length);
  [0x803, samples, SIDE, SIDE].forEach((word, index) => images.writeUInt32BE(word, 4 * index));
  noise.forEach((value, index) => {
    images[16 + index] = Math.max(0, Math.min(255, Math.round(128 + value)));
  });
  const labels = Buffer.alloc(8 + samples);
  [0x801, samples].forEach((word, index) => labels.writeUInt32BE(word, 4 * index));
  for (let sample = 0; sample < samples; sample++) labels[8 + sample] = sample % CLASSES;
  writeFileSync(join(folder, `${name}-images-idx3-ubyte`), images);
  writeFileSync(join(folder, `${name}-labels-idx1-ubyte`), labels);
}
