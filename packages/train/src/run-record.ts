/** What the process that owns a run's folder writes down and shows: metrics, checkpoints, report, log. */
import type { Checkpoint } from "layerwise/checkpoint";
import { MetricsFile, readMetrics } from "./metrics.js";
import type { FailureMetrics, Metrics } from "./metrics.js";
import type { OptimizerName } from "./optimizers/names.js";
import { ProgressLog } from "./progress.js";
import { writeReport } from "./report/report.js";
import { shownLayers } from "./report/shown-layers.js";
import type { RunFolder } from "./run-folder.js";
import { historyOf } from "./run-history.js";
import type { RunHistory } from "./run-history.js";
import type { Run } from "./run.js";
import { SearchFile } from "./search/search-file.js";
import type { Position } from "./training.js";

/** An epoch of a small data set takes less time than a report. */
const REPORT_INTERVAL_MS = 2000;

export class RunRecord {
  readonly log: ProgressLog;
  readonly history: RunHistory;
  readonly searches: SearchFile;
  readonly #run: Run;
  readonly #folder: RunFolder;
  readonly #metrics: MetricsFile;
  #reported = -Infinity;

  /** @throws UsageError when a file of the folder is damaged */
  constructor(run: Run, folder: RunFolder) {
    const { plan, dataset } = run;
    this.#run = run;
    this.#folder = folder;
    this.#metrics = new MetricsFile(folder.metricsFile, metricsToKeep(run, folder));
    try {
      this.history = historyOf(readMetrics(folder.metricsFile), shownLayers(plan.model));
      this.searches = SearchFile.read(folder.searchFile);
    } catch (error) {
      this.#metrics.close();
      throw error;
    }
    this.log = new ProgressLog(plan, dataset.train.labels.length);
  }

  add(line: Metrics): void {
    this.#metrics.add(line);
    this.history.add(line);
    this.log.add(line);
  }

  /** Writes what training can go on from. */
  addCheckpoint(name: OptimizerName, checkpoint: Checkpoint, position: Position): void {
    // The metrics first: what a checkpoint counts on must be on the disk.
    this.#metrics.sync();
    const progress = { ...position, metricsBytes: this.#metrics.length };
    this.#folder.writeCheckpoint(name, checkpoint, progress);
    if (performance.now() - this.#reported < REPORT_INTERVAL_MS) return;
    this.report();
    this.#reported = performance.now();
  }

  addFailure(line: FailureMetrics): void {
    this.log.stop();
    console.error(line.message);
    this.#metrics.add(line);
    this.history.add(line);
    this.#metrics.sync();
  }

  report(): void {
    const run = { ...this.#run, folder: this.#folder, searches: this.searches.found };
    writeReport(run, this.history);
  }

  close(): void {
    this.log.stop();
    this.#metrics.close();
  }
}

/** Metrics up to the newest checkpoint; training goes on from there and writes the rest anew. */
function metricsToKeep({ plan }: Run, folder: RunFolder): number {
  const lengths = plan.options.optimizer.map(
    (name) => folder.readCheckpoint(name)?.progress.metricsBytes ?? 0,
  );
  return Math.max(...lengths);
}
