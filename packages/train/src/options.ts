/** The options of a training run: texts from the command line, or what config.json kept of them. */
import { availableParallelism } from "node:os";
import {
  checkChoice,
  checkDistinct,
  checkFlag,
  checkInteger,
  checkList,
  checkNumber,
  checkText,
} from "./check.js";
import { TABLE_OPTIONS } from "./data/load.js";
import { MISSING, checkDelimiter } from "./data/table-format.js";
import type { Missing } from "./data/table-format.js";
import { UsageError } from "./errors.js";
import { MODELS } from "./models/model.js";
import type { ModelName } from "./models/model.js";
import { INITS } from "./models/parameters.js";
import type { Init } from "./models/parameters.js";
import { OPTIMIZERS, isLars, ruleOf } from "./optimizers/names.js";
import type { OptimizerName } from "./optimizers/names.js";
import { DEFAULT_MOMENTUM, PRESETS } from "./optimizers/options.js";
import type { StepOptions } from "./optimizers/options.js";
import { SCHEDULES } from "./optimizers/rates.js";
import type { ScheduleName } from "./optimizers/rates.js";

/** Checked options. null means a default that depends on the data set or the optimizer. */
export interface TrainOptions extends StepOptions {
  readonly model: ModelName;
  /** null for models that have no such option. */
  readonly hidden: readonly number[] | null;
  readonly data: string | null;
  readonly label: string | null;
  /** How a table is written: null stands for a comma, a header, and missing values refused. */
  readonly delimiter: string | null;
  readonly header: boolean | null;
  readonly missing: Missing | null;
  readonly optimizer: readonly OptimizerName[];
  readonly batchSize: number | null;
  readonly microBatch: number;
  readonly epochs: number | null;
  /** null: as documented where everything is, else searched. */
  readonly lr: number | typeof AUTO | null;
  /** Limit of the norm of all gradients; null: none, but for optimizers whose name asks for one. */
  readonly maxGradNorm: number | typeof AUTO | null;
  readonly init: Init;
  /** Scores a held-out part of the training set in place of the test set. */
  readonly holdOut: boolean;
  /** Splits the optimizer's state over the processes. */
  readonly shardState: boolean;
  readonly warmupEpochs: number | null;
  readonly schedule: ScheduleName;
  readonly seed: number;
}

/** Options by their names in camel case; what is undefined was not given. */
export type RawOptions = Readonly<Record<string, unknown>>;

const MAX_SIZE = 2 ** 24;
const MAX_EPOCHS = 100_000;

/** The fastest of 32, 64, … 1,024: activations stay in a core's cache. */
export const DEFAULT_MICRO_BATCH: Readonly<Record<ModelName, number>> = { mlp: 256, lenet: 128 };
export const DEFAULT_HIDDEN = [300, 100];
/** LARS, its strongest rival at large batches, and the plainest. */
export const DEFAULT_OPTIMIZERS: OptimizerName[] = ["lars8bit", "sgd-nesterov+clip", "sgd"];
/** A value that is searched on a held-out part of the training set. */
export const AUTO = "auto";

/**
 * Checks every option and what must hold between them.
 *
 * @throws UsageError that names the option, the value and what was expected
 */
export function checkOptions(raw: RawOptions): TrainOptions {
  const optional = <Value>(
    name: string,
    fallback: Value,
    check: (option: string, value: unknown) => Value,
  ): Value => {
    const value = raw[name];
    return value === undefined || value === null ? fallback : check(optionName(name), value);
  };
  const integer =
    (from: number, to: number) =>
    (option: string, value: unknown): number =>
      checkInteger(option, value, { from, to });
  const choice =
    <Choice extends string>(choices: readonly Choice[]) =>
    (option: string, value: unknown): Choice =>
      checkChoice(option, value, choices);
  const epochs = optional<number | null>("epochs", null, integer(1, MAX_EPOCHS));
  const model = optional("model", "mlp", choice(MODELS));
  const options: TrainOptions = {
    model,
    hidden: optional<number[] | null>(
      "hidden",
      model === "mlp" ? DEFAULT_HIDDEN : null,
      (option, value) => checkList(option, value, (entry) => integer(1, 65_536)(option, entry)),
    ),
    data: optional<string | null>("data", null, checkText),
    label: optional<string | null>("label", null, checkText),
    delimiter: optional<string | null>("delimiter", null, checkDelimiter),
    header: optional<boolean | null>("header", null, checkFlag),
    missing: optional<Missing | null>("missing", null, choice(MISSING)),
    optimizer: optional("optimizer", DEFAULT_OPTIMIZERS, checkOptimizers),
    batchSize: optional<number | null>("batchSize", null, integer(1, MAX_SIZE)),
    microBatch: optional("microBatch", DEFAULT_MICRO_BATCH[model], integer(1, 65_536)),
    epochs,
    lr: optional<TrainOptions["lr"]>("lr", null, checkSearchable),
    maxGradNorm: optional<TrainOptions["maxGradNorm"]>("maxGradNorm", null, checkSearchable),
    init: optional<Init>("init", "he", choice(INITS)),
    holdOut: optional("holdOut", false, checkFlag),
    shardState: optional("shardState", false, checkFlag),
    warmupEpochs: optional<number | null>("warmupEpochs", null, (option, value) =>
      checkNumber(option, value, { from: 0, to: epochs ?? MAX_EPOCHS, below: true }),
    ),
    schedule: optional("schedule", "polynomial", choice(SCHEDULES)),
    momentum: optional<number | null>("momentum", null, (option, value) =>
      checkNumber(option, value, { from: 0, to: 1, below: true }),
    ),
    nesterov: optional("nesterov", false, checkFlag),
    weightDecay: optional<number | null>("weightDecay", null, (option, value) =>
      checkNumber(option, value, { from: 0 }),
    ),
    maxUnorm: optional<number | null>("maxUnorm", null, (option, value) =>
      checkNumber(option, value, { from: 0, above: true }),
    ),
    trustCoefficient: optional<number | null>("trustCoefficient", null, (option, value) =>
      checkNumber(option, value, { from: 0, above: true }),
    ),
    preset: optional<StepOptions["preset"]>("preset", null, choice(PRESETS)),
    percentileClipping: optional<number | null>("percentileClipping", null, integer(1, 100)),
    seed: optional("seed", 1, integer(0, 2 ** 31 - 1)),
  };
  checkTogether(options);
  return options;
}

/** A number > 0, or "auto". */
function checkSearchable(option: string, value: unknown): number | typeof AUTO {
  return value === AUTO ? AUTO : checkNumber(option, value, { from: 0, above: true });
}

export function checkOptimizers(option: string, value: unknown): OptimizerName[] {
  const names = checkList(option, value, (entry) => checkChoice(option, entry, OPTIMIZERS));
  return checkDistinct(option, names);
}

/** How many threads or processes work at a time; results are the same for any number. */
export function checkThreads(option: string, value: unknown): number {
  if (value === undefined) return availableParallelism();
  return checkInteger(option, value, { from: 1, to: 256 });
}

/** microBatch → --micro-batch. */
export function optionName(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Refuses contradictory options, and options without effect. */
function checkTogether(options: TrainOptions): void {
  const rules = (["maxUnorm", "trustCoefficient", "preset"] as const).filter(
    (name) => options[name] !== null,
  );
  if (rules.length > 1) {
    throw new UsageError(
      `${rules.map(optionName).join(" and ")}: expected one of them, got ${rules.length}: each chooses the trust-ratio rule`,
    );
  }
  if (rules.length > 0 && !options.optimizer.some(isLars)) {
    throw new UsageError(
      `${optionName(rules[0]!)}: expected lars, lars8bit or lars32bit among the optimizers, got ${options.optimizer.join(",")}`,
    );
  }
  const ignored = (["nesterov", "percentileClipping"] as const).find((name) =>
    Boolean(options[name]),
  );
  if (ignored !== undefined && options.optimizer.every((name) => ruleOf(name) === "adamw")) {
    throw new UsageError(
      `${optionName(ignored)}: expected an optimizer other than adamw, which has no such option, got ${options.optimizer.join(",")}`,
    );
  }
  const adamw = options.optimizer.find((name) => ruleOf(name) === "adamw");
  if (options.shardState && adamw !== undefined) {
    throw new UsageError(
      `--shard-state: expected optimizers of lars and sgd only, whose state can be split, got ${adamw}`,
    );
  }
  const isNesterov = options.optimizer.some((name) => ruleOf(name) === "sgd-nesterov");
  if ((options.nesterov || isNesterov) && (options.momentum ?? DEFAULT_MOMENTUM) === 0) {
    throw new UsageError("--momentum: expected a number > 0 with Nesterov momentum, got 0");
  }
  if (options.model !== "mlp" && options.hidden !== null) {
    throw new UsageError(`--hidden: expected --model mlp with it, got --model ${options.model}`);
  }
  const ofTable = TABLE_OPTIONS.find((name) => options[name] !== null);
  if (options.data === null && ofTable !== undefined) {
    throw new UsageError(`--${ofTable}: expected --data FILE.csv with it, got no --data`);
  }
}
