/** Columns of a table with mean 0 and deviation 1. */
import { UsageError } from "../errors.js";
import { sharedFloat32 } from "./dataset.js";
import type { TableValues } from "./table-values.js";

interface ColumnStatistics {
  means: Float64Array;
  deviations: Float64Array;
}

/**
 * Statistics of each column over the training rows, where missing values count as the mean.
 *
 * @throws UsageError for a column without a value
 */
export function columnStatistics(
  values: TableValues,
  trainRows: Int32Array,
  nameOf: (column: number) => string,
): ColumnStatistics {
  const { columns } = values;
  const means = new Float64Array(columns);
  const counts = new Float64Array(columns);
  const least = new Float64Array(columns).fill(Infinity);
  const greatest = new Float64Array(columns).fill(-Infinity);
  // Row by row, as they lie in memory: column by column, wide tables take many times as long.
  for (const row of trainRows) {
    const cells = values.chunkOf(row);
    const start = values.startOf(row);
    for (let column = 0; column < columns; column++) {
      const value = cells[start + column]!;
      if (Number.isNaN(value)) continue;
      means[column]! += value;
      counts[column]!++;
      if (value < least[column]!) least[column] = value;
      if (value > greatest[column]!) greatest[column] = value;
    }
  }
  const empty = counts.indexOf(0);
  if (empty >= 0) {
    throw new UsageError(
      `${nameOf(empty)}: expected a value in a training row, got missing values only`,
    );
  }
  for (let column = 0; column < columns; column++) {
    const isConstant = least[column] === greatest[column];
    // The sum of a constant is rounded, so its mean may differ from it.
    means[column] = isConstant ? least[column]! : means[column]! / counts[column]!;
  }
  const deviations = new Float64Array(columns);
  for (const row of trainRows) {
    const cells = values.chunkOf(row);
    const start = values.startOf(row);
    for (let column = 0; column < columns; column++) {
      const value = cells[start + column]!;
      if (!Number.isNaN(value)) deviations[column]! += (value - means[column]!) ** 2;
    }
  }
  for (let column = 0; column < columns; column++) {
    // A constant column becomes 0, not 0 / 0.
    deviations[column] = Math.sqrt(deviations[column]! / trainRows.length) || 1;
  }
  return { means, deviations };
}

/** The given rows, standardised; a missing value is the mean, which is 0. */
export function standardisedRows(
  values: TableValues,
  rows: Int32Array,
  { means, deviations }: ColumnStatistics,
): Float32Array {
  const { columns } = values;
  const features = sharedFloat32(rows.length * columns);
  let next = 0;
  for (const row of rows) {
    const cells = values.chunkOf(row);
    const start = values.startOf(row);
    for (let column = 0; column < columns; column++) {
      const value = cells[start + column]!;
      features[next++] = Number.isNaN(value) ? 0 : (value - means[column]!) / deviations[column]!;
    }
  }
  return features;
}
