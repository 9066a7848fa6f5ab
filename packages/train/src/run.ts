/** A run: every optimizer in turn, on the same data, from the same first weights, in one folder. */
import { resolve } from "node:path";
import { checkInteger } from "./check.js";
import { rowsUpTo } from "./data/dataset.js";
import type { Dataset } from "./data/dataset.js";
import { heldOutRows } from "./data/held-out.js";
import { loadDataset } from "./data/load.js";
import { reloadDataset } from "./data/reload.js";
import { describeRun, describeSetting } from "./describe.js";
import { TrainingError, UsageError, messageOf } from "./errors.js";
import { GradientPool } from "./gradients/pool.js";
import { MetricsFile, readMetrics } from "./metrics.js";
import type { FailureMetrics } from "./metrics.js";
import { checkNewFolder } from "./new-folder.js";
import { noiseSentence, noiseSummary } from "./noise.js";
import type { OptimizerName } from "./optimizers/names.js";
import type { TrainOptions } from "./options.js";
import { makePlan, trainingPlan } from "./plan.js";
import type { Plan, PlannedRun, Settings } from "./plan.js";
import { ProgressLog, finalLine } from "./progress.js";
import { writeReport } from "./report/report.js";
import { shownLayers } from "./report/shown-layers.js";
import { resumable, shellWord } from "./resumable.js";
import { RunFolder } from "./run-folder.js";
import type { SavedRun } from "./run-folder.js";
import { historyOf } from "./run-history.js";
import type { RunHistory } from "./run-history.js";
import { findSetting } from "./search/find-settings.js";
import { SearchFile } from "./search/search-file.js";
import { settingSource } from "./search/settings.js";
import { Training } from "./training.js";

/** An epoch of a small data set takes less time than a report. */
const REPORT_INTERVAL_MS = 2000;

/** A run that can begin or go on. */
export interface Run extends PlannedRun {
  readonly dataset: Dataset;
  readonly folder: RunFolder;
  /** Rates and clipping of the optimizers that have theirs; a search adds to them. */
  settings: Settings;
}

/** Everything is checked here, before any training. */
export function startRun(options: TrainOptions, out: string): Run {
  const path = resolve(out);
  checkNewFolder(path);
  const dataset = loadDataset(options);
  const plan = makePlan(options, dataset);
  const settings = settingsWithoutSearch(plan);
  return { plan, dataset, folder: RunFolder.create(path, { plan, settings }), settings };
}

/** Opens a run whose folder is there, on the data that it was started with. */
export function resumeRun(path: string): Run {
  const folder = RunFolder.open(resolve(path));
  try {
    const { options, settings, fingerprint } = folder.readConfig();
    const dataset = reloadDataset(options, { saved: fingerprint, folder: folder.path });
    return { plan: makePlan(options, dataset), dataset, folder, settings };
  } catch (error) {
    folder.unlock();
    throw error;
  }
}

function settingsWithoutSearch(plan: Plan): Settings {
  return Object.fromEntries(
    plan.options.optimizer.flatMap((name) => {
      const source = settingSource(plan, name);
      return source.kind === "searched" ? [] : [[name, source.setting]];
    }),
  );
}

/**
 * Finds the rates that are missing, then trains with every optimizer that is not done yet.
 *
 * @throws TrainingError after the others when one of them could not go on
 */
export async function executeRun(run: Run, workers: number): Promise<void> {
  const { plan, folder } = run;
  const command = `layerwise-train --resume ${shellWord(folder.path)}`;
  let history: RunHistory;
  try {
    history = await resumable(command, async () => {
      console.log(describeRun(run, run.dataset, folder.path));
      const done = await searchAndTrain(run, workers);
      printNoise(plan, done);
      console.log(`report: ${folder.reportFile}`);
      if (plan.options.optimizer.length > 1) printResults(plan, done);
      return done;
    });
  } finally {
    folder.unlock();
  }
  const [failure] = history.failures;
  if (failure !== undefined) throw new TrainingError(failure.message);
}

async function searchAndTrain(run: Run, workers: number): Promise<RunHistory> {
  const { plan, dataset, folder } = run;
  // What may refuse a damaged folder comes before the pool: its threads would outlive the error.
  const metrics = new MetricsFile(folder.metricsFile, metricsToKeep(run));
  const history = historyOf(readMetrics(folder.metricsFile), shownLayers(plan.model));
  const searches = new SearchFile(folder.searchFile);
  const pool = new GradientPool({
    dataset,
    config: plan.model,
    microBatch: Math.min(plan.options.microBatch, plan.options.batchSize),
    workers,
  });
  const log = new ProgressLog(plan, dataset.train.labels.length);
  const parts: RunParts = { run, pool, log, metrics, history, searches };
  try {
    // Of the optimizers that failed before, the metrics that are kept know.
    const failed = new Set(history.failures.map(({ optimizer }) => optimizer));
    const names = plan.options.optimizer.filter((optimizer) => !failed.has(optimizer));
    for (const name of names) await findMissing(name, parts);
    for (const name of names) await trainWith(name, parts);
    report(parts);
    return history;
  } finally {
    log.stop();
    metrics.close();
    await pool.close();
  }
}

interface RunParts {
  readonly run: Run;
  readonly pool: GradientPool;
  readonly log: ProgressLog;
  readonly metrics: MetricsFile;
  readonly history: RunHistory;
  readonly searches: SearchFile;
}

/** Searches the setting of an optimizer that has none, and writes it down. */
async function findMissing(name: OptimizerName, parts: RunParts): Promise<void> {
  const { run, pool, log, searches } = parts;
  const source = settingSource(run.plan, name);
  if (run.settings[name] !== undefined || source.kind !== "searched") return;
  const search = await findSetting(source.question, {
    plan: run.plan,
    samples: run.dataset.train.labels.length,
    pool,
    file: searches,
    onTrial: (optimizer, trial) => {
      log.addTrial(optimizer, trial);
    },
  });
  log.stop();
  if (search.chosen === null) {
    fail(name, { epoch: 0, step: 0, message: noSettingMessage(name, search.trials.length) }, parts);
    return;
  }
  console.log(describeSetting(search, search.chosen));
  run.settings = { ...run.settings, [name]: search.chosen };
  run.folder.writeConfig(run, searches.found);
}

function noSettingMessage(name: OptimizerName, trials: number): string {
  return `${name}: expected a rate at which training does not diverge, got none in ${trials} trials`;
}

/** One optimizer, from its checkpoint if there is one. A failure is written down, not thrown. */
async function trainWith(name: OptimizerName, parts: RunParts): Promise<void> {
  const { run, pool, log, metrics, history } = parts;
  const { plan, folder, settings } = run;
  const setting = settings[name];
  if (setting === undefined) return;
  const saved = folder.readCheckpoint(name);
  if (saved?.progress.epoch === plan.options.epochs) return;
  const samples = run.dataset.train.labels.length;
  const { holdOut, seed } = plan.options;
  const rows = holdOut
    ? heldOutRows(samples, seed)
    : { training: rowsUpTo(samples), heldOut: null };
  const lane = pool.open(rows);
  const training = new Training(trainingPlan(plan, name, setting), lane);
  let reported = -Infinity;
  try {
    if (saved !== null) restore(training, saved, { name, folder, epochs: plan.options.epochs });
    log.begin(name, saved?.progress.step ?? 0);
    await training.run({
      onMetrics: (line) => {
        metrics.add(line);
        history.add(line);
        log.add(line);
      },
      onEpoch: () => {
        // The metrics first: what a checkpoint counts on must be on the disk.
        metrics.sync();
        const progress = { ...training.position, metricsBytes: metrics.length };
        folder.writeCheckpoint(name, training.checkpoint(), progress);
        if (performance.now() - reported < REPORT_INTERVAL_MS) return;
        report(parts);
        reported = performance.now();
      },
    });
    log.end();
  } catch (error) {
    if (!(error instanceof TrainingError)) throw error;
    log.stop();
    const { epoch, step } = training.position;
    fail(name, { epoch: epoch + 1, step: step + 1, message: error.message }, parts);
  } finally {
    training.dispose();
    lane.close();
  }
}

/** @throws UsageError that names the file when it is of another run */
function restore(
  training: Training,
  { checkpoint, progress }: SavedRun,
  { name, folder, epochs }: { name: OptimizerName; folder: RunFolder; epochs: number },
): void {
  const file = folder.checkpointFile(name);
  checkInteger(`${file}: epoch`, progress.epoch, { from: 0, to: epochs });
  try {
    training.restore(checkpoint, progress);
  } catch (error) {
    throw new UsageError(`${file}: ${messageOf(error)}`, { cause: error });
  }
}

function fail(
  optimizer: OptimizerName,
  failure: Omit<FailureMetrics, "kind" | "optimizer">,
  { metrics, history }: RunParts,
): void {
  console.error(failure.message);
  const line: FailureMetrics = { kind: "failed", optimizer, ...failure };
  metrics.add(line);
  history.add(line);
  metrics.sync();
}

function report({ run, searches, history }: RunParts): void {
  writeReport({ ...run, searches: searches.found }, history);
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

function printNoise(plan: Plan, history: RunHistory): void {
  for (const name of plan.options.optimizer) {
    const noise = noiseSummary(history.of(name));
    if (noise !== null) console.log(noiseSentence(name, noise, plan.options.batchSize));
  }
}
