/** Where an optimizer's rate and clipping come from: given, as documented, or searched. */
import { isClipped } from "../optimizers/names.js";
import type { OptimizerName } from "../optimizers/names.js";
import type { Setting } from "../optimizers/options.js";
import { AUTO } from "../options.js";
import type { TrainOptions } from "../options.js";
import type { Plan } from "../plan.js";
import type { Question } from "./ladder.js";

/** What is known before any search. */
export type SettingSource =
  | { readonly kind: "given" | "documented"; readonly setting: Setting }
  | { readonly kind: "searched"; readonly question: Question };

/**
 * The setting that docs/training.md shows: the MLP 784-300-100-10 on MNIST at batch 8,192 for 10 epochs. The rates are
 * those that `--lr auto` finds there with seed 1, written down to spare the search; lars and lars32bit have that of
 * lars8bit.
 */
const DOCUMENTED: Readonly<Partial<TrainOptions>> = {
  model: "mlp",
  data: null,
  batchSize: 8192,
  epochs: 10,
  warmupEpochs: 2,
  schedule: "polynomial",
  init: "he",
  lr: null,
  maxGradNorm: null,
  momentum: null,
  nesterov: false,
  weightDecay: null,
  maxUnorm: null,
  trustCoefficient: null,
  preset: null,
  percentileClipping: null,
};
const DOCUMENTED_HIDDEN = "300,100";
const DOCUMENTED_SETTINGS: Readonly<Partial<Record<OptimizerName, Setting>>> = {
  sgd: { lr: 0.13, maxGradNorm: null },
  "sgd-nesterov": { lr: 0.18, maxGradNorm: null },
  "sgd-nesterov+clip": { lr: 6.4, maxGradNorm: 0.1 },
  adamw: { lr: 0.026, maxGradNorm: null },
  lars: { lr: 0.91, maxGradNorm: null },
  lars32bit: { lr: 0.91, maxGradNorm: null },
  lars8bit: { lr: 0.91, maxGradNorm: null },
};

export function settingSource({ options }: Plan, optimizer: OptimizerName): SettingSource {
  const { lr } = options;
  const given = typeof options.maxGradNorm === "number" ? options.maxGradNorm : null;
  const wantsLimit = options.maxGradNorm === AUTO || (given === null && isClipped(optimizer));
  if (typeof lr === "number" && !wantsLimit)
    return { kind: "given", setting: { lr, maxGradNorm: given } };
  const documented = DOCUMENTED_SETTINGS[optimizer];
  if (documented !== undefined && isDocumented(options)) {
    return { kind: "documented", setting: documented };
  }
  const question: Question = {
    optimizer,
    step: options,
    lr: typeof lr === "number" ? lr : null,
    maxGradNorm: wantsLimit ? null : (given ?? "off"),
  };
  return { kind: "searched", question };
}

/** Whether everything that the documented rates depend on is as it was. */
function isDocumented(options: Plan["options"]): boolean {
  return (
    options.hidden?.join() === DOCUMENTED_HIDDEN &&
    Object.entries(DOCUMENTED).every(
      ([name, value]) => options[name as keyof TrainOptions] === value,
    )
  );
}
