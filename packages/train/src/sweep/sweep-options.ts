/** The options of a sweep: which optimizers, batch sizes, rates and seeds. */
import { checkDistinct, checkInteger, checkList, checkNumber, checkObject } from "../check.js";
import { defaultRate } from "../default-rates.js";
import { UsageError } from "../errors.js";
import type { OptimizerName } from "../optimizers.js";
import { checkOptimizers, checkOptions } from "../options.js";
import type { RawOptions } from "../options.js";

/** What a sweep varies. */
export interface Grid {
  readonly optimizers: readonly OptimizerName[];
  readonly batchSizes: readonly number[];
  /** Rates of each optimizer at each batch size, which the keys are. */
  readonly rates: Readonly<Partial<Record<OptimizerName, Readonly<Record<string, number[]>>>>>;
  /** The rates are tried with the first; the best of them with all. */
  readonly seeds: readonly number[];
}

export const DEFAULT_SWEEP_OPTIMIZERS: OptimizerName[] = ["sgd", "lars32bit", "lars8bit"];
export const DEFAULT_BATCH_SIZES = [256, 1024, 4096, 8192, 16_384];
/** Of the default rate at a batch size, where `--lr` says nothing. */
const DEFAULT_RATE_FACTORS = [1 / 4, 1 / 2, 1, 2, 4];

export interface SweepOptions {
  readonly grid: Grid;
  /** The options that all cells have in common, as they are given to them. */
  readonly training: RawOptions;
}

/** Options that a sweep sets in its cells. */
const VARIED = ["optimizer", "batchSize", "lr", "seed", "seeds"];

/**
 * Checks the options of a sweep and those of the training runs in it.
 *
 * @param raw `lr` is a list of texts such as "sgd=0.1,0.2"
 * @param samples of the training set, which default rates depend on
 * @throws UsageError that names the option, the value and what is allowed
 */
export function checkSweepOptions(raw: RawOptions, samples: number): SweepOptions {
  const training = commonOptions(raw);
  const optimizers = checkOptimizers("--optimizer", raw.optimizer ?? DEFAULT_SWEEP_OPTIMIZERS);
  const options = checkOptions({ ...training, optimizer: optimizers });
  const batchSizes = checkIntegers("--batch-size", raw.batchSize ?? DEFAULT_BATCH_SIZES, 1);
  const given = givenRates(raw.lr ?? [], optimizers);
  const ratesOf = (optimizer: OptimizerName, batchSize: number): number[] => {
    const middle = defaultRate(optimizer, options, { batchSize, samples });
    return (
      given.get(optimizer) ??
      DEFAULT_RATE_FACTORS.map((factor) => Number((factor * middle).toPrecision(3)))
    );
  };
  const rates = optimizers.map((optimizer) => [
    optimizer,
    Object.fromEntries(batchSizes.map((size) => [String(size), ratesOf(optimizer, size)])),
  ]);
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
  const rates = optimizers.map((optimizer) => {
    const own = checkObject(`grid: rates of ${optimizer}`, allRates[optimizer]);
    return [
      optimizer,
      Object.fromEntries(
        batchSizes.map((size) => [String(size), checkRates("grid: rates", own[String(size)])]),
      ),
    ];
  });
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

function checkRates(option: string, value: unknown): number[] {
  const rates = checkList(option, value, (entry) =>
    checkNumber(option, entry, { from: 0, above: true }),
  );
  return checkDistinct(option, rates).toSorted((a, b) => a - b);
}

/** "0.1,0.2" for all optimizers; "sgd=0.1,0.2" and "lars32bit,lars8bit=2,3" for some. */
function givenRates(
  value: unknown,
  optimizers: readonly OptimizerName[],
): ReadonlyMap<OptimizerName, number[]> {
  const rates = new Map<OptimizerName, number[]>();
  for (const entry of value as string[]) {
    const [names, list] = entry.includes("=") ? entry.split("=") : [optimizers, entry];
    for (const name of checkOptimizers("--lr", names)) {
      if (!optimizers.includes(name)) {
        throw new UsageError(`--lr: has rates of ${name}, which --optimizer does not name`);
      }
      if (rates.has(name)) throw new UsageError(`--lr: has rates of ${name} twice`);
      rates.set(name, checkRates("--lr", list));
    }
  }
  return rates;
}
