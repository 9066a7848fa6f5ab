/** The cells of a sweep, what came out of each, and which rates were best. */
import type { OptimizerName } from "../optimizers.js";
import type { SweepOptions } from "./sweep-options.js";

/** One training run of a sweep. */
export interface Cell {
  readonly optimizer: OptimizerName;
  readonly batchSize: number;
  readonly lr: number;
  readonly seed: number;
}

/** What came out; a cell whose loss was not finite has no accuracy. */
export interface CellResult extends Cell {
  readonly diverged: boolean;
  readonly testAccuracy: number | null;
  readonly testLoss: number | null;
  readonly stateBytes: number | null;
  readonly seconds: number;
}

/** The best rate of an optimizer at a batch size, and how it did with every seed. */
export interface BestRate {
  readonly optimizer: OptimizerName;
  readonly batchSize: number;
  readonly lr: number;
  readonly accuracies: readonly number[];
}

export function cellKey({ optimizer, batchSize, lr, seed }: Cell): string {
  return `${optimizer}-batch${batchSize}-lr${lr}-seed${seed}`;
}

/** The rates that are tried for an optimizer at a batch size. */
export function ratesAt(
  { grid }: SweepOptions,
  optimizer: OptimizerName,
  batchSize: number,
): readonly number[] {
  return grid.rates[optimizer]?.[String(batchSize)] ?? [];
}

/** Every rate with the first seed. The longest cells, those with small batches, come first. */
export function gridCells(options: SweepOptions): Cell[] {
  const { optimizers, batchSizes, seeds } = options.grid;
  return batchSizes
    .toSorted((a, b) => a - b)
    .flatMap((batchSize) =>
      optimizers.flatMap((optimizer) =>
        ratesAt(options, optimizer, batchSize).map((lr) => ({
          optimizer,
          batchSize,
          lr,
          seed: seeds[0]!,
        })),
      ),
    );
}

/** The best rates with the other seeds. */
export function repeatedCells(options: SweepOptions, results: readonly CellResult[]): Cell[] {
  return bestRates(options, results).flatMap(({ optimizer, batchSize, lr }) =>
    options.grid.seeds.slice(1).map((seed) => ({ optimizer, batchSize, lr, seed })),
  );
}

/** The rate with the highest test accuracy of the first seed, where one did not diverge. */
export function bestRates({ grid }: SweepOptions, results: readonly CellResult[]): BestRate[] {
  return grid.optimizers.flatMap((optimizer) =>
    grid.batchSizes.flatMap((batchSize): BestRate[] => {
      const own = results.filter(
        (result) => result.optimizer === optimizer && result.batchSize === batchSize,
      );
      const best = own
        .filter(({ seed, diverged }) => seed === grid.seeds[0] && !diverged)
        .toSorted((a, b) => b.testAccuracy! - a.testAccuracy! || a.lr - b.lr)[0];
      if (best === undefined) return [];
      const accuracies = own
        .filter(({ lr, diverged }) => lr === best.lr && !diverged)
        .toSorted((a, b) => a.seed - b.seed)
        .map(({ testAccuracy }) => testAccuracy!);
      return [{ optimizer, batchSize, lr: best.lr, accuracies }];
    }),
  );
}
