/** The data of a run or a sweep that is resumed. */
import { UsageError } from "../errors.js";
import { fingerprint } from "./dataset.js";
import type { Dataset } from "./dataset.js";
import { loadDataset } from "./load.js";
import type { DataOptions } from "./load.js";

/**
 * Loads the data that a folder was started with.
 *
 * @param saved the fingerprint in the folder
 * @throws UsageError when the data has changed since
 */
export function reloadDataset(
  options: DataOptions,
  { saved, folder }: { saved: string; folder: string },
): Dataset {
  const dataset = loadDataset(options);
  if (fingerprint(dataset) === saved) return dataset;
  throw new UsageError(
    `--resume: expected the data that ${folder} was started with, got other values in ${options.data ?? "MNIST"}`,
  );
}
