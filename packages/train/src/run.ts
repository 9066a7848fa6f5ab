/** A run: every optimizer in turn, on the same data, from the same first weights, in one folder. */
import { resolve } from "node:path";
import type { Dataset } from "./data/dataset.js";
import { loadDataset } from "./data/load.js";
import { reloadDataset } from "./data/reload.js";
import { TrainingError } from "./errors.js";
import { GradientPool } from "./gradients/pool.js";
import { MetricsFile, readMetrics } from "./metrics.js";
import type { FailureMetrics } from "./metrics.js";
import { elementCount, layerSizes, parametersOf } from "./models/parameters.js";
import { checkNewFolder } from "./new-folder.js";
import type { OptimizerName } from "./optimizers.js";
import type { TrainOptions } from "./options.js";
import { makePlan } from "./plan.js";
import type { Plan } from "./plan.js";
import { ProgressLog, finalLine } from "./progress.js";
import { writeReport } from "./report/report.js";
import { RunFolder } from "./run-folder.js";
import { grouped } from "./text.js";
import { Training } from "./training.js";

/** A run that can begin or go on. */
export interface Run {
  plan: Plan;
  dataset: Dataset;
  folder: RunFolder;
}

/** Everything is checked here, before any training. */
export function startRun(options: TrainOptions, out: string): Run {
  const path = resolve(out);
  checkNewFolder(path);
  const dataset = loadDataset(options);
  const plan = makePlan(options, dataset);
  return { plan, dataset, folder: RunFolder.create(path, plan) };
}

/** Opens a run whose folder is there, on the data that it was started with. */
export function resumeRun(path: string): Run {
  const folder = RunFolder.open(resolve(path));
  try {
    const { options, rates, fingerprint } = folder.readConfig();
    const dataset = reloadDataset(options, { saved: fingerprint, folder: folder.path });
    return { plan: { ...makePlan(options, dataset), rates }, dataset, folder };
  } catch (error) {
    folder.unlock();
    throw error;
  }
}

/**
 * Trains with every optimizer that is not done yet.
 *
 * @throws TrainingError after the others when one of them could not go on
 */
export async function executeRun(run: Run, workers: number): Promise<void> {
  const { plan, folder } = run;
  try {
    console.log(description(run));
    await trainAll(run, workers);
    writeReport(plan, folder);
    console.log(`report: ${folder.reportFile}`);
    if (plan.options.optimizer.length > 1) printResults(run);
  } finally {
    folder.unlock();
  }
  const [failure] = failures(folder);
  if (failure !== undefined) throw new TrainingError(failure.message);
}

async function trainAll(run: Run, workers: number): Promise<void> {
  const { plan, dataset, folder } = run;
  // What may refuse a damaged folder comes before the pool: its threads would outlive the error.
  const metrics = new MetricsFile(folder.metricsFile, metricsToKeep(run));
  const pool = new GradientPool({
    dataset,
    config: plan.model,
    microBatch: Math.min(plan.options.microBatch, plan.options.batchSize),
    workers,
  });
  const log = new ProgressLog(plan, dataset.train.labels.length);
  try {
    // Of the optimizers that failed before, the metrics that are kept know.
    const failed = new Set(failures(folder).map(({ optimizer }) => optimizer));
    for (const name of plan.options.optimizer.filter((optimizer) => !failed.has(optimizer))) {
      await trainWith(name, { plan, folder, pool, log, metrics });
    }
  } finally {
    log.stop();
    metrics.close();
    await pool.close();
  }
}

interface TrainingParts {
  plan: Plan;
  folder: RunFolder;
  pool: GradientPool;
  log: ProgressLog;
  metrics: MetricsFile;
}

/** One optimizer, from its checkpoint if there is one. A failure is written down, not thrown. */
async function trainWith(name: OptimizerName, parts: TrainingParts): Promise<void> {
  const { plan, folder, pool, log, metrics } = parts;
  const saved = folder.readCheckpoint(name);
  if (saved?.progress.epoch === plan.options.epochs) return;
  const training = new Training(plan, name, pool);
  if (saved !== null) training.restore(saved.checkpoint, saved.progress);
  log.begin(name, saved?.progress.step ?? 0);
  try {
    await training.run({
      onMetrics: (line) => {
        metrics.add(line);
        log.add(line);
      },
      onCheckpoint: (checkpoint, position) => {
        // The metrics first: what a checkpoint counts on must be on the disk.
        metrics.sync();
        folder.writeCheckpoint(name, checkpoint, { ...position, metricsBytes: metrics.length });
        writeReport(plan, folder);
      },
    });
    log.end();
  } catch (error) {
    if (!(error instanceof TrainingError)) throw error;
    log.stop();
    console.error(error.message);
    const { epoch, step } = training.position;
    const { message } = error;
    metrics.add({ kind: "failed", optimizer: name, epoch: epoch + 1, step: step + 1, message });
    metrics.sync();
  } finally {
    training.dispose();
  }
}

/** Metrics up to the newest checkpoint; training goes on from there and writes the rest anew. */
function metricsToKeep({ plan, folder }: Run): number {
  const lengths = plan.options.optimizer.map(
    (name) => folder.readCheckpoint(name)?.progress.metricsBytes ?? 0,
  );
  return Math.max(...lengths);
}

function failures(folder: RunFolder): FailureMetrics[] {
  return readMetrics(folder.metricsFile).filter((line) => line.kind === "failed");
}

function printResults({ plan, folder }: Run): void {
  const epochs = readMetrics(folder.metricsFile).filter((line) => line.kind === "epoch");
  for (const name of plan.options.optimizer) {
    const last = epochs.filter(({ optimizer }) => optimizer === name).at(-1);
    if (last !== undefined) console.log(finalLine(plan, last));
  }
}

function description({ plan, dataset, folder }: Run): string {
  const { options, model, rates } = plan;
  const { train, test, classes } = dataset;
  const weights = parametersOf(model).reduce((sum, spec) => sum + elementCount(spec), 0);
  const sizes = layerSizes(model).join("-");
  const used = options.optimizer.map((name) => `${name} ${String(rates[name])}`).join(", ");
  return [
    `data: ${dataset.name}: ${grouped(train.labels.length)} training and ${grouped(test.labels.length)} test samples, ${classes.length} classes`,
    `model: ${options.model} ${options.model === "mlp" ? sizes : ""}, ${grouped(weights)} parameters`,
    `batch ${grouped(options.batchSize)}, ${options.epochs} epochs of ${plan.stepsPerEpoch} steps; rates: ${used}; seed ${options.seed}`,
    `run: ${folder.path}`,
  ].join("\n");
}
