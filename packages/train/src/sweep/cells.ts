/** The cells of a sweep, what came out of each, and which settings were best. */
import type { OptimizerName } from "../optimizers/names.js";
import type { Setting } from "../optimizers/options.js";
import { AUTO } from "../options.js";
import type { Trial } from "../search/rate-search.js";
import type { SweepOptions } from "./sweep-options.js";

/** One training run of a sweep. */
export interface Cell {
  readonly optimizer: OptimizerName;
  readonly batchSize: number;
  /** "auto": the cell searches its rate first. */
  readonly lr: number | typeof AUTO;
  /** null: as the sweep's options say. */
  readonly maxGradNorm: number | null;
  readonly seed: number;
  /** Trains without the held-out part and scores it: the test set takes no part in a choice. */
  readonly holdOut: boolean;
}

/** The result of a cell. One that diverged has no accuracy, and no rate if it had to search one. */
export interface CellResult extends Omit<Cell, "lr"> {
  readonly lr: number | null;
  /** Whether the cell searched its rate. */
  readonly searched: boolean;
  readonly diverged: boolean;
  readonly heldOutAccuracy: number | null;
  readonly testAccuracy: number | null;
  readonly testLoss: number | null;
  readonly stateBytes: number | null;
  readonly seconds: number;
  /** The trials of its search. */
  readonly trials: readonly Trial[];
  /** The search ended at an end of its ladder. */
  readonly atEdge: boolean;
}

/** The best rate of an optimizer at a batch size, and how it did with every seed. */
export interface BestRate {
  readonly optimizer: OptimizerName;
  readonly batchSize: number;
  readonly lr: number;
  readonly maxGradNorm: number | null;
  /** Of the test set, seed by seed; seeds that diverged have none. */
  readonly accuracies: readonly number[];
  /** Seeds whose training diverged. */
  readonly diverged: number;
  /** The lowest or the highest of the rates that were tried: a better one may lie beyond. */
  readonly atEdge: boolean;
  /** The range of rates, tried without a gap, whose held-out accuracy is within a point of the best one's. */
  readonly plateau: readonly [low: number, high: number] | null;
}

/** Points of accuracy that a rate of the plateau may lose. */
const PLATEAU_DEPTH = 0.01;

export function cellKey(cell: Cell): string {
  const { optimizer, batchSize, seed, lr, maxGradNorm, holdOut } = cell;
  const clip = maxGradNorm === null ? "" : `-clip${maxGradNorm}`;
  return `${optimizer}-batch${batchSize}-lr${lr}${clip}-seed${seed}${holdOut ? "-held-out" : ""}`;
}

/** The cell that a result is of. */
export function cellOf(result: CellResult): Cell {
  const { optimizer, batchSize, seed, maxGradNorm, holdOut, searched, lr } = result;
  const common = { optimizer, batchSize, seed, holdOut };
  return searched
    ? { ...common, lr: AUTO, maxGradNorm: null }
    : { ...common, lr: lr!, maxGradNorm };
}

/** The rates that are tried for an optimizer at a batch size; "auto": each cell searches. */
export function ratesAt(
  { grid }: SweepOptions,
  optimizer: OptimizerName,
): readonly (number | typeof AUTO)[] {
  return grid.rates[optimizer] ?? [];
}

/**
 * Every rate with the first seed, scored on held-out samples; a cell that searches its own rate scores the test
 * set at once. The longest cells, those with small batches, come first.
 */
export function choosingCells(options: SweepOptions): Cell[] {
  const { optimizers, batchSizes, seeds } = options.grid;
  return batchSizes
    .toSorted((a, b) => a - b)
    .flatMap((batchSize) =>
      optimizers.flatMap((optimizer) =>
        ratesAt(options, optimizer).map((lr): Cell => {
          const common = { optimizer, batchSize, seed: seeds[0]!, maxGradNorm: null };
          return { ...common, lr, holdOut: lr !== AUTO };
        }),
      ),
    );
}

/** The best settings with every seed that is missing, on the whole training set: all of one seed, then of the next. */
export function testedCells(options: SweepOptions, results: readonly CellResult[]): Cell[] {
  return bestRates(options, results)
    .flatMap(({ optimizer, batchSize, lr, maxGradNorm }) => {
      const own = results.filter((result) => isOf(result, optimizer, batchSize));
      // A search has tested its setting with the first seed.
      const seeds = options.grid.seeds.slice(own.some(({ searched }) => searched) ? 1 : 0);
      return seeds.map((seed) => {
        return { optimizer, batchSize, lr, maxGradNorm, seed, holdOut: false };
      });
    })
    .toSorted((a, b) => a.seed - b.seed || a.batchSize - b.batchSize);
}

/** The settings that were chosen: by the cells' own searches, else by the accuracy on held-out samples. */
export function bestRates({ grid }: SweepOptions, results: readonly CellResult[]): BestRate[] {
  return grid.optimizers.flatMap((optimizer) =>
    grid.batchSizes.flatMap((batchSize): BestRate[] => {
      const own = results.filter((result) => isOf(result, optimizer, batchSize));
      const chosen = own.find(({ searched }) => searched) ?? bestHeldOut(own);
      if (chosen === undefined || chosen.lr === null) return [];
      const { lr, maxGradNorm } = chosen;
      const tested = own
        .filter((result) => result.lr === lr && !result.holdOut)
        .toSorted((a, b) => a.seed - b.seed);
      const finite = tested.filter((result) => !result.diverged);
      const accuracies = finite.map(({ testAccuracy }) => testAccuracy!);
      const diverged = tested.length - finite.length;
      const range = rangeOf(chosen, triedSettings(own, optimizer, batchSize));
      return [{ optimizer, batchSize, lr, maxGradNorm, accuracies, diverged, ...range }];
    }),
  );
}

function isOf(
  result: Pick<Cell, "optimizer" | "batchSize">,
  optimizer: OptimizerName,
  batchSize: number,
): boolean {
  return result.optimizer === optimizer && result.batchSize === batchSize;
}

/** The highest accuracy; of several that are alike, the lowest rate. */
function bestHeldOut(results: readonly CellResult[]): CellResult | undefined {
  return results
    .filter(({ holdOut, diverged }) => holdOut && !diverged)
    .toSorted((a, b) => b.heldOutAccuracy! - a.heldOutAccuracy! || a.lr! - b.lr!)[0];
}

/** A setting and its score on held-out samples; null: diverged. */
export type TriedSetting = Setting & { readonly accuracy: number | null };

/**
 * All that was tried for an optimizer at a batch size, by rate: the cells of a grid, or the first rung of a search,
 * whose runs are equally short.
 */
export function triedSettings(
  results: readonly CellResult[],
  optimizer: OptimizerName,
  batchSize: number,
): TriedSetting[] {
  return results
    .filter((result) => isOf(result, optimizer, batchSize))
    .flatMap(({ searched, trials, holdOut, lr, maxGradNorm, heldOutAccuracy }) => {
      if (searched) return trials.filter(({ rung }) => rung === 0);
      return holdOut && lr !== null ? [{ lr, maxGradNorm, accuracy: heldOutAccuracy }] : [];
    })
    .toSorted((a, b) => a.lr - b.lr);
}

type RateRange = Pick<BestRate, "atEdge" | "plateau">;

function rangeOf(chosen: CellResult, tried: readonly TriedSetting[]): RateRange {
  // Where limits were tried too, the rates of the best one.
  const best = tried.toSorted((a, b) => (b.accuracy ?? 0) - (a.accuracy ?? 0))[0];
  const ladder = tried.filter(({ maxGradNorm }) => maxGradNorm === best?.maxGradNorm);
  const isEnd = ladder.length > 1 && [ladder[0]!.lr, ladder.at(-1)!.lr].includes(chosen.lr!);
  return { atEdge: chosen.searched ? chosen.atEdge : isEnd, plateau: plateauOf(ladder) };
}

/** @param tried rates in rising order; null: diverged */
export function plateauOf(
  tried: readonly { lr: number; accuracy: number | null }[],
): BestRate["plateau"] {
  const scores = tried.map(({ accuracy }) => accuracy ?? -Infinity);
  const top = Math.max(...scores);
  if (!Number.isFinite(top)) return null;
  const isHigh = (index: number): boolean => (scores[index] ?? -Infinity) >= top - PLATEAU_DEPTH;
  let low = scores.indexOf(top);
  let high = low;
  while (isHigh(low - 1)) low--;
  while (isHigh(high + 1)) high++;
  return [tried[low]!.lr, tried[high]!.lr];
}
