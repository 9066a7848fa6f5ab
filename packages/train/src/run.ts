/** A run: every optimizer in turn, on the same data, from the same first weights, in one folder. */
import { resolve } from "node:path";
import type { Dataset } from "./data/dataset.js";
import { loadDataset } from "./data/load.js";
import { TrainingError, UsageError } from "./errors.js";
import { GradientPool } from "./gradients/pool.js";
import { MetricsFile, readMetrics } from "./metrics.js";
import type { FailureMetrics } from "./metrics.js";
import { elementCount, layerSizes, parametersOf } from "./models/parameters.js";
import type { OptimizerName } from "./optimizers.js";
import type { TrainOptions } from "./options.js";
import { makePlan } from "./plan.js";
import type { Plan } from "./plan.js";
import { ProgressLog, finalLine } from "./progress.js";
import { writeReport } from "./report/report.js";
import { shownLayers } from "./report/shown-layers.js";
import { RunFolder, checkNewFolder } from "./run-folder.js";
import { historyOf } from "./run-history.js";
import type { RunHistory } from "./run-history.js";
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
  const { options, rates, fingerprint } = folder.readConfig();
  const dataset = loadDataset(options);
  const plan = { ...makePlan(options, dataset), rates };
  if (plan.fingerprint !== fingerprint) {
    throw new UsageError(
      `--resume: ${options.data ?? "MNIST"} is not the data that ${folder.path} was started with`,
    );
  }
  return { plan, dataset, folder };
}

/**
 * Trains with every optimizer that is not done yet.
 *
 * @throws TrainingError after the others when one of them could not go on
 */
export async function executeRun(run: Run, workers: number): Promise<void> {
  const { plan, folder } = run;
  let history: RunHistory;
  folder.lock();
  try {
    console.log(description(run));
    history = await trainAll(run, workers);
    writeReport(run, history);
    console.log(`report: ${folder.reportFile}`);
    if (plan.options.optimizer.length > 1) printResults(plan, history);
  } finally {
    folder.unlock();
  }
  const [failure] = history.failures;
  if (failure !== undefined) throw new TrainingError(failure.message);
}

async function trainAll(run: Run, workers: number): Promise<RunHistory> {
  const { plan, dataset, folder } = run;
  // What may refuse a damaged folder comes before the pool: its threads would outlive the error.
  const metrics = new MetricsFile(folder.metricsFile, metricsToKeep(run));
  const history = historyOf(readMetrics(folder.metricsFile), shownLayers(plan.model));
  const pool = new GradientPool({
    dataset,
    config: plan.model,
    microBatch: Math.min(plan.options.microBatch, plan.options.batchSize),
    workers,
  });
  const log = new ProgressLog(plan, dataset.train.labels.length);
  try {
    // Of the optimizers that failed before, the metrics that are kept know.
    const failed = new Set(history.failures.map(({ optimizer }) => optimizer));
    for (const name of plan.options.optimizer.filter((optimizer) => !failed.has(optimizer))) {
      await trainWith(name, { run, pool, log, metrics, history });
    }
    return history;
  } finally {
    log.stop();
    metrics.close();
    await pool.close();
  }
}

interface TrainingParts {
  run: Run;
  pool: GradientPool;
  log: ProgressLog;
  metrics: MetricsFile;
  history: RunHistory;
}

/** One optimizer, from its checkpoint if there is one. A failure is written down, not thrown. */
async function trainWith(name: OptimizerName, parts: TrainingParts): Promise<void> {
  const { run, pool, log, metrics, history } = parts;
  const { plan, folder } = run;
  const saved = folder.readCheckpoint(name);
  if (saved?.progress.epoch === plan.options.epochs) return;
  const training = new Training(plan, name, pool);
  if (saved !== null) training.restore(saved.checkpoint, saved.progress);
  log.begin(name, saved?.progress.step ?? 0);
  try {
    await training.run({
      onMetrics: (line) => {
        metrics.add(line);
        history.add(line);
        log.add(line);
      },
      onCheckpoint: (checkpoint, position) => {
        // The metrics first: what a checkpoint counts on must be on the disk.
        metrics.sync();
        folder.writeCheckpoint(name, checkpoint, { ...position, metricsBytes: metrics.length });
        writeReport(run, history);
      },
    });
    log.end();
  } catch (error) {
    if (!(error instanceof TrainingError)) throw error;
    log.stop();
    console.error(error.message);
    const { epoch, step } = training.position;
    const { message } = error;
    const failure: FailureMetrics = {
      kind: "failed",
      optimizer: name,
      epoch: epoch + 1,
      step: step + 1,
      message,
    };
    metrics.add(failure);
    history.add(failure);
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

function printResults(plan: Plan, history: RunHistory): void {
  for (const name of plan.options.optimizer) {
    const { lastEpoch } = history.of(name);
    if (lastEpoch !== null) console.log(finalLine(plan, lastEpoch));
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
