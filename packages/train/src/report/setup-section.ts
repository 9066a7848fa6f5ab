/** The section on the setup: options, data, versions and machine. */
import { availableParallelism, cpus, totalmem } from "node:os";
import { featureCount } from "../data/dataset.js";
import type { Dataset } from "../data/dataset.js";
import { settingText } from "../describe.js";
import {
  DEFAULT_ADAMW_DECAY,
  DEFAULT_MOMENTUM,
  DEFAULT_TRUST_COEFFICIENT,
  DEFAULT_WEIGHT_DECAY,
} from "../optimizers/options.js";
import { checkOptions, optionName } from "../options.js";
import { defaultBatchSize, defaultEpochs, defaultWarmup } from "../plan.js";
import type { PlannedRun } from "../plan.js";
import { grouped } from "../text.js";
import { VERSIONS } from "../versions.js";
import type { Section } from "./chart.js";
import { escapeHtml, htmlTable } from "./html.js";

export function setupSection(run: PlannedRun, dataset: Dataset): Section {
  const options = textTable("Options of the run", optionRows(run, dataset));
  const data = textTable("Data", dataRows(dataset));
  return {
    id: "setup",
    heading: "Options, data and machine",
    note: "Everything that the run depends on. The same options, data and seed give the same run on the same machine.",
    charts: [],
    html: `<div class="half"><div>${options}</div><div>${data}${machineTable()}</div></div>`,
  };
}

/** Versions, machine and time, as they are now. */
export function machineTable(): string {
  return textTable("Versions and machine", machineRows());
}

/** A table of names and values, which are HTML. */
export function textTable(label: string, rows: readonly (readonly string[])[]): string {
  return `<h3>${escapeHtml(label)}</h3><div class="texts">${htmlTable({ label, head: [], rows })}</div>`;
}

/** The meaning of an option's default. */
function unsetText({ plan: { options }, settings }: PlannedRun, name: string): string {
  const ofPreset = options.preset === null ? null : `the preset’s (${options.preset})`;
  switch (name) {
    case "lr":
      return Object.entries(settings)
        .map(([optimizer, setting]) => `${optimizer} ${settingText(setting)}`)
        .join(", ");
    case "momentum":
      return ofPreset ?? String(DEFAULT_MOMENTUM);
    case "weightDecay":
      return ofPreset ?? `${DEFAULT_WEIGHT_DECAY}, adamw ${DEFAULT_ADAMW_DECAY}`;
    case "trustCoefficient":
      return options.preset === null && options.maxUnorm === null
        ? String(DEFAULT_TRUST_COEFFICIENT)
        : "not used";
    case "maxUnorm":
    case "maxGradNorm":
    case "percentileClipping":
      return "off";
    case "preset":
      return "none";
    case "data":
      return "MNIST";
    default:
      return "–";
  }
}

function optionRows(run: PlannedRun, dataset: Dataset): string[][] {
  const { options } = run.plan;
  const samples = dataset.train.labels.length;
  const epochs = defaultEpochs(samples);
  const defaults: Readonly<Record<string, unknown>> = {
    ...checkOptions({ model: options.model }),
    model: checkOptions({}).model,
    epochs,
    warmupEpochs: defaultWarmup(options.epochs),
    batchSize: defaultBatchSize(samples),
  };
  return Object.entries(options).map(([name, value]: [string, unknown]) => {
    const text = value === null ? unsetText(run, name) : textOf(value);
    const isDefault = JSON.stringify(value) === JSON.stringify(defaults[name]);
    const badge = isDefault ? '<span class="badge">default</span>' : "";
    return [`<code>${escapeHtml(optionName(name))}</code>`, `${escapeHtml(text)}${badge}`];
  });
}

function textOf(value: unknown): string {
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value === "boolean") return value ? "on" : "off";
  return typeof value === "number" ? String(Number(value.toPrecision(10))) : String(value);
}

function dataRows(dataset: Dataset): string[][] {
  const { name, featureShape, classes, train, test } = dataset;
  const shape =
    featureShape.length === 1
      ? `${grouped(featureCount(dataset))} columns`
      : `images of ${featureShape.join(" × ")}`;
  return [
    ["source", name],
    ["training samples", grouped(train.labels.length)],
    ["test samples", grouped(test.labels.length)],
    ["features", shape],
    ["classes", grouped(classes.length)],
  ].map((row) => row.map(escapeHtml));
}

function machineRows(): string[][] {
  const processors = cpus();
  return [
    ...Object.entries(VERSIONS),
    ["V8", process.versions.v8],
    ["CPU", processors[0]?.model.trim() ?? "unknown"],
    ["cores", String(availableParallelism())],
    ["memory", `${(totalmem() / 2 ** 30).toFixed(0)} GiB`],
    ["system", `${process.platform} ${process.arch}`],
    ["report written", dateText(new Date())],
  ].map((row) => row.map(escapeHtml));
}

/** 2026-01-31 12:00 UTC */
function dateText(date: Date): string {
  return `${date.toISOString().slice(0, 16).replace("T", " ")} UTC`;
}
