/** The options of a sweep: which optimizers, batch sizes, rates and seeds. */
import { checkDistinct, checkInteger, checkList, checkNumber, checkObject } from "../check.js";
import { UsageError } from "../errors.js";
import type { OptimizerName } from "../optimizers/names.js";
import { AUTO, checkOptimizers, checkOptions } from "../options.js";
import type { RawOptions } from "../options.js";

/** What a sweep varies. */
export interface Grid {
  readonly optimizers: readonly OptimizerName[];
  readonly batchSizes: readonly number[];
  /** Rates that are tried at every batch size; ["auto"]: searched at each. */
  readonly rates: Readonly<Partial<Record<OptimizerName, readonly (number | typeof AUTO)[]>>>;
  /** Rates are chosen with the first; the best of them runs with all. */
  readonly seeds: readonly number[];
}

export const DEFAULT_SWEEP_OPTIMIZERS: OptimizerName[] = [
  "sgd",
  "sgd-nesterov+clip",
  "adamw",
  "lars8bit",
];
export const DEFAULT_BATCH_SIZES = [256, 1024, 4096, 8192, 16_384];

export interface SweepOptions {
  readonly grid: Grid;
  /** The options that all cells have in common, as they are given to them. */
  readonly training: RawOptions;
}

/** Options that a sweep sets in its cells. */
const VARIED = ["optimizer", "batchSize", "lr", "seed", "seeds", "holdOut"];

/**
 * Checks the options of a sweep and those of the training runs in it.
 *
 * @param raw `lr` is a list of texts such as "sgd=0.1,0.2"
 * @throws UsageError that names the option, the value and what was expected
 */
export function checkSweepOptions(raw: RawOptions): SweepOptions {
  const training = commonOptions(raw);
  const optimizers = checkOptimizers("--optimizer", raw.optimizer ?? DEFAULT_SWEEP_OPTIMIZERS);
  checkOptions({ ...training, optimizer: optimizers });
  const batchSizes = checkIntegers("--batch-size", raw.batchSize ?? DEFAULT_BATCH_SIZES, 1);
  const given = givenRates(raw.lr ?? [], optimizers);
  const rates = optimizers.map((name) => [name, given.get(name) ?? [AUTO]]);
  const seeds = checkIntegers("--seeds", raw.seeds ?? [1], 0);
  const grid = { optimizers, batchSizes, seeds, rates: Object.fromEntries(rates) as Grid["rates"] };
  return { grid, training };
}

/**
 * Checks what sweep.json says.
 *
 * @throws UsageError that names what is wrong
 */
export function checkSavedSweep(saved: Readonly<Record<string, unknown>>): SweepOptions {
  const grid = checkObject("grid", saved.grid);
  const training = commonOptions(checkObject("training", saved.training));
  const optimizers = checkOptimizers("grid: optimizers", grid.optimizers);
  const batchSizes = checkIntegers("grid: batchSizes", grid.batchSizes, 1);
  const allRates = checkObject("grid: rates", grid.rates);
  const rates = optimizers.map((name) => [
    name,
    checkRates(`grid: rates of ${name}`, allRates[name]),
  ]);
  checkOptions({ ...training, optimizer: optimizers });
  const seeds = checkIntegers("grid: seeds", grid.seeds, 0);
  return {
    grid: { optimizers, batchSizes, seeds, rates: Object.fromEntries(rates) as Grid["rates"] },
    training,
  };
}

function commonOptions(raw: RawOptions): RawOptions {
  return Object.fromEntries(
    Object.entries(raw).filter(
      ([name, value]) => !VARIED.includes(name) && value !== undefined && value !== null,
    ),
  );
}

function checkIntegers(option: string, value: unknown, from: number): number[] {
  return checkDistinct(
    option,
    checkList(option, value, (entry) => checkInteger(option, entry, { from, to: 2 ** 31 - 1 })),
  );
}

/** Rates in rising order, or "auto" alone. */
function checkRates(option: string, value: unknown): (number | typeof AUTO)[] {
  const entries = checkList(option, value, (entry) =>
    entry === AUTO ? entry : checkNumber(option, entry, { from: 0, above: true }),
  );
  const rates = entries.filter((entry) => entry !== AUTO);
  if (rates.length === 0) return [AUTO];
  if (rates.length === entries.length)
    return checkDistinct(option, rates).toSorted((a, b) => a - b);
  throw new UsageError(`${option}: expected rates or auto, got both`);
}

/** "0.1,0.2" or "auto" for all optimizers; "sgd=0.1,0.2" and "lars32bit,lars8bit=2,3" for some. */
function givenRates(
  value: unknown,
  optimizers: readonly OptimizerName[],
): ReadonlyMap<OptimizerName, (number | typeof AUTO)[]> {
  const rates = new Map<OptimizerName, (number | typeof AUTO)[]>();
  for (const entry of value as string[]) {
    const [names, list] = entry.includes("=") ? entry.split("=") : [optimizers, entry];
    for (const name of checkOptimizers("--lr", names)) {
      if (!optimizers.includes(name)) {
        throw new UsageError(
          `--lr: expected rates of optimizers that --optimizer names, got those of ${name}`,
        );
      }
      if (rates.has(name))
        throw new UsageError(
          `--lr: expected rates of each optimizer once, got those of ${name} twice`,
        );
      rates.set(name, checkRates("--lr", list));
    }
  }
  return rates;
}
