/** Describes a run and its searches, for the log. */
import type { Dataset } from "./data/dataset.js";
import { elementCount, layerSizes, parametersOf } from "./models/parameters.js";
import { samePairs } from "./optimizers/names.js";
import type { Setting } from "./optimizers/options.js";
import type { Plan, PlannedRun, Settings } from "./plan.js";
import { LAST_RUNG } from "./search/rate-search.js";
import type { RateSearch, Trial } from "./search/rate-search.js";
import { settingSource } from "./search/settings.js";
import { duration, grouped, percent } from "./text.js";

/** The first lines of the log. */
export function describeRun(
  { plan, settings }: PlannedRun,
  dataset: Dataset,
  path: string,
): string {
  const { options, model, stepsPerEpoch } = plan;
  const { train, test, classes } = dataset;
  const weights = parametersOf(model).reduce((sum, spec) => sum + elementCount(spec), 0);
  const sizes = options.model === "mlp" ? ` ${layerSizes(model).join("-")}` : "";
  return [
    `data: ${dataset.name}: ${grouped(train.labels.length)} training and ${grouped(test.labels.length)} test samples, ${classes.length} classes`,
    `model: ${options.model}${sizes}, ${grouped(weights)} parameters`,
    `batch ${grouped(options.batchSize)}, ${options.epochs} epochs of ${stepsPerEpoch} steps; seed ${options.seed}`,
    ...ratesLines(plan, settings),
    ...samePairs(options.optimizer).map(
      ([name, other]) =>
        `note: ${name} and ${other} are two names of one optimizer: both get the same result`,
    ),
    `run: ${path}`,
  ].join("\n");
}

/** Where rates come from. */
function ratesLines(plan: Plan, settings: Settings): string[] {
  const known = plan.options.optimizer.flatMap((name) => {
    const setting = settings[name];
    return setting === undefined ? [] : [{ name, setting, kind: settingSource(plan, name).kind }];
  });
  const missing = plan.options.optimizer.filter((name) => settings[name] === undefined);
  const texts = { given: "given", documented: "as documented for this setting", searched: "found" };
  const lines = Object.entries(texts).flatMap(([kind, text]) => {
    const own = known.filter((entry) => entry.kind === kind);
    const list = own.map(({ name, setting }) => `${name} ${settingText(setting)}`).join(", ");
    return own.length === 0 ? [] : [`rates, ${text}: ${list}`];
  });
  if (missing.length === 0) return lines;
  return [...lines, `rates, searched on held-out training samples: ${missing.join(", ")}`];
}

/** The result of a search, with its neighbours' scores. */
export function describeSetting(
  { optimizer, trials, seconds, atEdge }: Omit<RateSearch, "chosen">,
  chosen: Setting,
): string {
  const last = trials.filter(({ rung }) => rung === LAST_RUNG);
  const scores = last
    .toSorted((a, b) => a.lr - b.lr)
    .map((trial) => `${settingText(trial)}: ${scoreText(trial)}`)
    .join(", ");
  const diverged = trials.filter(({ accuracy }) => accuracy === null).length;
  return [
    `${optimizer}: rate ${settingText(chosen)}, by held-out accuracy of short runs (${scores}); ${trials.length} trials, ${duration(seconds)}`,
    ...(diverged > 0 ? [`${optimizer}: ${diverged} of the trials diverged`] : []),
    ...(atEdge
      ? [`${optimizer}: the best rate lies at the end of the ladder; a better one may lie beyond`]
      : []),
  ].join("\n");
}

function scoreText({ accuracy }: Trial): string {
  return accuracy === null ? "diverged" : percent(accuracy);
}

/** "0.4", "3.2 clipped at 0.1". */
export function settingText({ lr, maxGradNorm }: Setting): string {
  return maxGradNorm === null ? String(lr) : `${lr} clipped at ${maxGradNorm}`;
}
