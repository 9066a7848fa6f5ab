/** The section on what made the run: options, data, versions and machine. */
import { availableParallelism, cpus, totalmem } from "node:os";
import { featureCount } from "../data/dataset.js";
import type { Dataset } from "../data/dataset.js";
import { settingText } from "../describe.js";
import { ruleOf } from "../optimizers/names.js";
import type { OptimizerName } from "../optimizers/names.js";
import {
  DEFAULT_ADAMW_DECAY,
  DEFAULT_MOMENTUM,
  DEFAULT_TRUST_COEFFICIENT,
  DEFAULT_WEIGHT_DECAY,
} from "../optimizers/options.js";
import { checkOptions, optionName } from "../options.js";
import { completeOptions, trainingSamples } from "../plan.js";
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

/** What an option means where it has no value of its own. */
function unsetText({ plan, settings }: PlannedRun, name: string): string {
  const { options } = plan;
  const ofPreset = options.preset === null ? null : `the preset’s (${options.preset})`;
  switch (name) {
    case "lr":
      return Object.entries(settings)
        .map(([optimizer, setting]) => `${optimizer} ${settingText(setting)}`)
        .join(", ");
    case "momentum":
      return ofPreset ?? String(DEFAULT_MOMENTUM);
    case "weightDecay":
      return [ofPreset ?? String(DEFAULT_WEIGHT_DECAY), ...adamwDecay(options.optimizer)].join(
        ", ",
      );
    case "trustCoefficient":
      return options.preset === null && options.maxUnorm === null
        ? String(DEFAULT_TRUST_COEFFICIENT)
        : "not used";
    case "maxGradNorm":
    case "maxUnorm":
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

function adamwDecay(optimizers: readonly OptimizerName[]): string[] {
  const isUsed = optimizers.some((name) => ruleOf(name) === "adamw");
  return isUsed ? [`adamw ${DEFAULT_ADAMW_DECAY}`] : [];
}

function optionRows(run: PlannedRun, dataset: Dataset): string[][] {
  const { options } = run.plan;
  const samples = trainingSamples(options, dataset);
  const given = { model: options.model, epochs: options.epochs };
  const defaults: Readonly<Record<string, unknown>> = {
    ...completeOptions(checkOptions(given), samples),
    epochs: completeOptions(checkOptions({}), samples).epochs,
    model: checkOptions({}).model,
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
