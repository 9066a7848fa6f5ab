/** A run: every optimizer in turn, on the same data, from the same first weights, in one folder. */
import { resolve } from "node:path";
import { checkInteger } from "./check.js";
import { rowsUpTo } from "./data/dataset.js";
import type { Dataset } from "./data/dataset.js";
import { heldOutRows } from "./data/held-out.js";
import { loadDataset } from "./data/load.js";
import { reloadDataset } from "./data/reload.js";
import { describeRun, describeSetting } from "./describe.js";
import { describeTeam } from "./distributed/describe-team.js";
import { asShared } from "./distributed/team.js";
import type { Team } from "./distributed/team.js";
import { TrainingError, UsageError, messageOf } from "./errors.js";
import { enableFusedMultiplyAdd } from "./gradients/fused-multiply-add.js";
import { GradientPool } from "./gradients/pool.js";
import type { FailureMetrics } from "./metrics.js";
import { checkNewFolder } from "./new-folder.js";
import { noiseSentence, noiseSummary } from "./noise.js";
import type { OptimizerName } from "./optimizers/names.js";
import type { TrainOptions } from "./options.js";
import { makePlan, trainingPlan } from "./plan.js";
import type { Plan, PlannedRun, Settings } from "./plan.js";
import { finalLine } from "./progress.js";
import { resumable, shellWord } from "./resumable.js";
import { RunFolder, decodeSavedRun } from "./run-folder.js";
import type { SavedRun } from "./run-folder.js";
import type { RunHistory } from "./run-history.js";
import { RunRecord } from "./run-record.js";
import { findSetting } from "./search/find-settings.js";
import { SearchFile } from "./search/search-file.js";
import { settingSource } from "./search/settings.js";
import { Training } from "./training.js";

/** A run that can begin or go on. */
export interface Run extends PlannedRun {
  readonly dataset: Dataset;
  /** null: another process owns it. */
  readonly folder: RunFolder | null;
  readonly team: Team;
  /** Rates and clipping of the optimizers that have theirs; a search adds to them. */
  settings: Settings;
}

/** Everything is checked here, before any training. */
export function startRun(options: TrainOptions, out: string, team: Team): Run {
  const path = resolve(out);
  team.onFirst(() => {
    checkNewFolder(path);
  });
  const { dataset, plan } = team.together(() => {
    const loaded = loadDataset(options);
    return { dataset: loaded, plan: makePlan(options, loaded) };
  });
  agreeOnPlan(plan, team);
  const settings = settingsWithoutSearch(plan);
  const folder = team.onFirst(() => RunFolder.create(path, { plan, settings }));
  return { plan, dataset, folder, settings, team };
}

/** Opens a run whose folder is there, on the data that it was started with. */
export function resumeRun(path: string, team: Team): Run {
  const folder = team.onFirst(() => RunFolder.open(resolve(path)));
  try {
    const { options, settings, fingerprint } = team.fromFirst(() => folder!.readConfig());
    const { dataset, plan } = team.together(() => {
      const saved = { saved: fingerprint, folder: resolve(path) };
      const loaded = reloadDataset(options, saved);
      return { dataset: loaded, plan: makePlan(options, loaded) };
    });
    agreeOnPlan(plan, team);
    return { plan, dataset, folder, settings, team };
  } catch (error) {
    folder?.unlock();
    throw error;
  }
}

/** The arithmetic of processors is compared too: what the gradients need of it must be on. */
function agreeOnPlan({ fingerprint, options }: Plan, team: Team): void {
  enableFusedMultiplyAdd();
  team.agree([
    { of: "data", what: "fingerprint", value: fingerprint },
    { of: "run", what: "options", value: JSON.stringify(options) },
  ]);
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
  const { folder, team } = run;
  let failures: readonly string[];
  try {
    failures =
      folder === null
        ? await searchAndTrain(run, workers)
        : await resumable(commandToResume(folder, team), () => {
            console.log(describeRun(run, run.dataset, folder.path));
            if (team.members !== null) console.log(describeTeam(team.members, workers));
            return searchAndTrain(run, workers);
          });
  } finally {
    folder?.unlock();
  }
  const [failure] = failures;
  if (failure !== undefined) throw asShared(new TrainingError(failure));
}

function commandToResume({ path }: RunFolder, { size }: Team): string {
  const launcher = size === 1 ? "" : `mpirun -n ${size} `;
  return `${launcher}layerwise-train --resume ${shellWord(path)}`;
}

/** @returns the message of each optimizer that failed */
async function searchAndTrain(run: Run, workers: number): Promise<readonly string[]> {
  const { plan, dataset, team, folder } = run;
  // What may refuse a damaged folder comes before the pool: its threads would outlive the error.
  const record = team.onFirst(() => new RunRecord(run, folder!));
  let pool: GradientPool | null = null;
  try {
    // Of the optimizers that failed before, the metrics that are kept know.
    const before = team.fromFirst(() =>
      record!.history.failures.map(({ optimizer, message }) => ({ optimizer, message })),
    );
    const saved = team.fromFirst(() => record!.searches.all);
    pool = new GradientPool({
      dataset,
      config: plan.model,
      microBatch: Math.min(plan.options.microBatch, plan.options.batchSize),
      workers,
      team,
    });
    const searches = record?.searches ?? SearchFile.elsewhere(saved);
    const failures = before.map(({ message }) => message);
    const parts: RunParts = { run, pool, searches, record, failures };
    const names = plan.options.optimizer.filter((name) =>
      before.every(({ optimizer }) => optimizer !== name),
    );
    for (const name of names) await findMissing(name, parts);
    for (const name of names) await trainWith(name, parts);
    if (record !== null) printEnd(record, folder!, plan);
    return failures;
  } finally {
    record?.close();
    await pool?.close();
  }
}

function printEnd(record: RunRecord, folder: RunFolder, plan: Plan): void {
  record.report();
  printNoise(plan, record.history);
  console.log(`report: ${folder.reportFile}`);
  if (plan.options.optimizer.length > 1) printResults(plan, record.history);
}

interface RunParts {
  readonly run: Run;
  readonly pool: GradientPool;
  readonly searches: SearchFile;
  /** null where another process keeps it. */
  readonly record: RunRecord | null;
  /** Grows with each optimizer that can't go on. */
  readonly failures: string[];
}

/** Searches the setting of an optimizer that has none, and writes it down. */
async function findMissing(name: OptimizerName, parts: RunParts): Promise<void> {
  const { run, pool, record, searches } = parts;
  const source = settingSource(run.plan, name);
  if (run.settings[name] !== undefined || source.kind !== "searched") return;
  const search = await findSetting(source.question, {
    plan: run.plan,
    samples: run.dataset.train.labels.length,
    pool,
    file: searches,
    onTrial: (optimizer, trial) => {
      record?.log.addTrial(optimizer, trial);
    },
  });
  record?.log.stop();
  if (search.chosen === null) {
    fail(name, { epoch: 0, step: 0, message: noSettingMessage(name, search.trials.length) }, parts);
    return;
  }
  run.settings = { ...run.settings, [name]: search.chosen };
  if (run.folder === null) return;
  console.log(describeSetting(search, search.chosen));
  run.folder.writeConfig(run, searches.found);
}

function noSettingMessage(name: OptimizerName, trials: number): string {
  return `${name}: expected a rate at which training does not diverge, got none in ${trials} trials`;
}

/** One optimizer, from its checkpoint if there is one. A failure is written down, not thrown. */
async function trainWith(name: OptimizerName, parts: RunParts): Promise<void> {
  const { run, pool, record } = parts;
  const { plan, settings, team } = run;
  const setting = settings[name];
  if (setting === undefined) return;
  const saved = lastCheckpoint(name, run);
  if (saved?.progress.epoch === plan.options.epochs) return;
  const samples = run.dataset.train.labels.length;
  const { holdOut, seed } = plan.options;
  const rows = holdOut
    ? heldOutRows(samples, seed)
    : { training: rowsUpTo(samples), heldOut: null };
  const lane = pool.open(rows);
  const training = new Training(trainingPlan(plan, name, setting), lane);
  try {
    if (saved !== null) {
      team.together(() => {
        restore(training, saved, plan.options.epochs);
      });
    }
    record?.log.begin(name, saved?.progress.step ?? 0);
    await training.run({
      onMetrics: (line) => {
        record?.add(line);
      },
      onEpoch: () => {
        // Where the state is split, every process gives its part.
        if (record === null && !plan.options.shardState) return;
        const checkpoint = training.checkpoint();
        record?.addCheckpoint(name, checkpoint, training.position);
      },
    });
    record?.log.end();
  } catch (error) {
    if (!(error instanceof TrainingError)) throw error;
    const { epoch, step } = training.position;
    fail(name, { epoch: epoch + 1, step: step + 1, message: error.message }, parts);
  } finally {
    training.dispose();
    lane.close();
  }
}

/** The last checkpoint, which the first process reads for all, and its file. */
function lastCheckpoint(name: OptimizerName, { folder, team }: Run): (SavedRun & File) | null {
  const file = team.fromFirst(() => folder!.checkpointFile(name));
  const bytes = team.bytesFromFirst(() => folder!.checkpointBytes(name));
  if (bytes === null) return null;
  return { file, ...team.together(() => decodeSavedRun(file, bytes)) };
}

interface File {
  readonly file: string;
}

/** @throws UsageError that names the file when it is of another run */
function restore(
  training: Training,
  { checkpoint, progress, file }: SavedRun & File,
  epochs: number,
): void {
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
  { record, failures }: RunParts,
): void {
  failures.push(failure.message);
  record?.addFailure({ kind: "failed", optimizer, ...failure });
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
