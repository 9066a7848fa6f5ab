/** report.html: one file with the whole run, which opens without a network. */
import type { Dataset } from "../data/dataset.js";
import { settingText } from "../describe.js";
import { writeAtomically } from "../files.js";
import { layerSizes } from "../models/parameters.js";
import type { OptimizerName } from "../optimizers/names.js";
import type { Plan, PlannedRun, Settings } from "../plan.js";
import type { RunFolder } from "../run-folder.js";
import type { OptimizerHistory, RunHistory } from "../run-history.js";
import type { RateSearch } from "../search/rate-search.js";
import { bytes, duration, grouped, percent } from "../text.js";
import { VERSIONS } from "../versions.js";
import type { Section } from "./chart.js";
import { classSections } from "./class-section.js";
import { escapeHtml, htmlPage, htmlTable, swatch } from "./html.js";
import { placeOf } from "./looks.js";
import { noiseSections } from "./noise-section.js";
import { layerSection, timeSection, trainingSection } from "./run-sections.js";
import { searchSections } from "./search-section.js";
import { setupSection } from "./setup-section.js";

/** What a report is about. */
export interface ReportedRun extends PlannedRun {
  readonly searches: readonly RateSearch[];
  readonly dataset: Dataset;
  readonly folder: Pick<RunFolder, "reportFile">;
}

/** Writes the report of what a run has done so far. */
export function writeReport(run: ReportedRun, history: RunHistory): void {
  writeAtomically(run.folder.reportFile, reportHtml(run, history));
}

/** The page; its size depends on the model and the optimizers, not on how long the run was. */
export function reportHtml(run: ReportedRun, history: RunHistory): string {
  const { plan, dataset } = run;
  const runs = plan.options.optimizer.map((name) => history.of(name));
  const begun = runs.filter(({ steps }) => steps.count > 0);
  return htmlPage({
    subject: `layerwise-train · ${dataset.name}`,
    heading: headingOf(plan, runs),
    facts: factsOf(plan),
    failures: history.failures.map(({ message }) => message),
    notes: [...heldOutNote(plan), ...identicalRuns(begun)],
    summary: `${cards(run, runs)}${resultTable(run.settings, runs)}`,
    sections: [
      ...(begun.length === 0 ? [] : trainingSections(run, begun)),
      setupSection(run, dataset),
    ],
    footer: `Written by layerwise-train ${VERSIONS["layerwise-train"]!}. All numbers are in metrics.jsonl, beside this file.`,
  });
}

function trainingSections(
  { plan, dataset, searches }: ReportedRun,
  begun: readonly OptimizerHistory[],
): Section[] {
  return [
    trainingSection(begun),
    ...classSections(dataset.classes, begun),
    ...noiseSections(plan, begun),
    ...searchSections(searches),
    timeSection(begun),
    ...begun.map((run) => layerSection(plan, run)),
  ];
}

/** The results, best first. */
function headingOf({ options }: Plan, runs: readonly OptimizerHistory[]): string {
  const results = runs
    .flatMap(({ name, lastEpoch }) => (lastEpoch === null ? [] : [{ name, ...lastEpoch }]))
    .sort((a, b) => b.testAccuracy - a.testAccuracy);
  const [best, ...others] = results;
  if (best === undefined) return "No epoch is finished yet";
  const isDone = runs.every(
    ({ lastEpoch, failure }) => failure !== null || lastEpoch?.epoch === options.epochs,
  );
  const rest = others.map(({ name, testAccuracy }) => `${name}\u00a0${unbroken(testAccuracy)}`);
  const result = `${best.name} ${isDone ? "reached" : "is at"} ${unbroken(best.testAccuracy)} test accuracy`;
  return `${[result, ...rest].join(", ")}${isDone ? "" : "; the run is not finished"}`;
}

/** A percentage whose parts stay on one line. */
function unbroken(part: number): string {
  return percent(part).replace(" ", "\u00a0");
}

function factsOf({ options, model, stepsPerEpoch }: Plan): string {
  const layers = layerSizes(model).join("-");
  return [
    options.model === "mlp" ? `MLP ${layers}` : "LeNet",
    `batch ${grouped(options.batchSize)}`,
    `${options.epochs} epochs of ${grouped(stepsPerEpoch)} steps`,
    `seed ${options.seed}`,
  ].join(" · ");
}

function heldOutNote({ options }: Plan): string[] {
  return options.holdOut
    ? [
        "--hold-out: what this page calls test is a held-out part of the training set; the test set was left alone.",
      ]
    : [];
}

/** Names of optimizers with identical runs, whose lines coincide. */
function identicalRuns(runs: readonly OptimizerHistory[]): string[] {
  const groups = new Map<string, string[]>();
  for (const { name, digest } of runs) groups.set(digest, [...(groups.get(digest) ?? []), name]);
  return [...groups.values()]
    .filter((names) => names.length > 1)
    .map((names) => {
      const list = `${names.slice(0, -1).join(", ")} and ${names.at(-1)!}`;
      return `${list} took the same steps: every rate, loss and norm is equal, and their lines lie on each other.`;
    });
}

function cards(
  { settings, plan: { options } }: ReportedRun,
  runs: readonly OptimizerHistory[],
): string {
  const items = runs.map(({ name, lastEpoch, failure, seconds }) => {
    const more = [
      rateText(settings, name),
      ...(lastEpoch === null ? [] : [`${bytes(lastEpoch.stateBytes)} of state`]),
      duration(seconds),
    ];
    if (failure !== null) more.push(`failed at step ${failure.step}`);
    else if (lastEpoch?.epoch !== options.epochs) {
      more.push(`epoch ${lastEpoch?.epoch ?? 0} of ${options.epochs}`);
    }
    const value = lastEpoch === null ? "–" : percent(lastEpoch.testAccuracy);
    return `<li style="--swatch:var(--optimizer-${placeOf(name)})"><p class="name">${escapeHtml(name)}</p><p class="value">${value}</p><p class="more">${escapeHtml(more.join(" · "))}</p></li>`;
  });
  return `<ul class="cards" aria-label="Test accuracy of each optimizer">${items.join("")}</ul>`;
}

function rateText(settings: Settings, name: OptimizerName): string {
  const setting = settings[name];
  return setting === undefined ? "no rate" : `rate ${settingText(setting)}`;
}

function resultTable(settings: Settings, runs: readonly OptimizerHistory[]): string {
  const rows = runs.map(({ name, steps, lastEpoch, seconds }) => {
    const gradients = median(steps.values.map(({ gradientMs }) => gradientMs));
    const optimizer = median(steps.values.map(({ optimizerMs }) => optimizerMs));
    const ofEpoch =
      lastEpoch === null
        ? ["–", "–", "–", "–", "–"]
        : [
            percent(lastEpoch.testAccuracy),
            percent(lastEpoch.trainAccuracy),
            lastEpoch.testLoss.toFixed(4),
            bytes(lastEpoch.stateBytes),
            grouped(lastEpoch.samplesPerSecond),
          ];
    const times =
      steps.count === 0
        ? ["–", "–", "–"]
        : [
            gradients.toFixed(1),
            optimizer.toFixed(2),
            percent(optimizer / (gradients + optimizer)),
          ];
    return [
      swatch(`optimizer-${placeOf(name)}`, name),
      ...[rateText(settings, name).replace("rate ", ""), ...ofEpoch, ...times].map(escapeHtml),
      duration(seconds),
    ];
  });
  return htmlTable({
    label: "Results of each optimizer",
    head: [
      "optimizer",
      "rate",
      "test accuracy",
      "training",
      "test loss",
      "state",
      "samples/s",
      "gradients, ms",
      "optimizer, ms",
      "its share",
      "time",
    ],
    rows,
  });
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}
