/**
 * Tables: numbers, and one column of classes, which may be words. A part of the rows is held out as the
 * test set; the columns are standardised with the statistics of the others.
 */
import { UsageError } from "../errors.js";
import { Random, STREAMS } from "../random.js";
import { ClassLabels } from "./class-labels.js";
import { sharedUint16 } from "./dataset.js";
import type { Dataset, Samples } from "./dataset.js";
import { columnStatistics, standardisedRows } from "./standardise.js";
import { DEFAULT_FORMAT } from "./table-format.js";
import type { TableFormat } from "./table-format.js";
import { tableRows } from "./table-rows.js";
import type { Row } from "./table-rows.js";
import { TableValues } from "./table-values.js";

/** Every fifth row of a class goes to the test set. */
const HELD_OUT_EVERY = 5;

/** Spellings of a missing value, in lower case. */
const MISSING_TEXTS = new Set(["", "?", "na", "n/a", "nan", "null"]);

const MAX_FLOAT32 = (2 - 2 ** -23) * 2 ** 127;

/** Where a table is, which of its columns is the class, and the seed of the held-out part. */
export interface CsvSource {
  file: string;
  /** A name of the header, or a number from 1 where there is none. */
  label: string;
  seed: number;
  format?: TableFormat;
}

interface Columns {
  /** Of all columns, as messages name them. */
  names: string[];
  label: number;
}

/**
 * Reads a table.
 *
 * @throws UsageError that names the file, and the line where a line is wrong
 */
export function readCsv(source: CsvSource): Dataset {
  const { columns, values, labels: texts } = readTable(source);
  const { classes, labels } = texts.finish();
  const parts = split(source, labels);
  const features = columns.names.filter((_, index) => index !== columns.label);
  const statistics = columnStatistics(
    values,
    parts.train,
    (column) => `${source.file}, ${features[column]!}`,
  );
  const part = (rows: Int32Array): Samples => {
    const own = sharedUint16(rows.length);
    for (let index = 0; index < rows.length; index++) own[index] = labels[rows[index]!]!;
    return { features: standardisedRows(values, rows, statistics), labels: own };
  };
  return {
    name: source.file,
    featureShape: [features.length],
    classes,
    train: part(parts.train),
    test: part(parts.test),
    mean: 0,
    scale: 1,
  };
}

function readTable(source: CsvSource): {
  columns: Columns;
  values: TableValues;
  labels: ClassLabels;
} {
  const { file, format = DEFAULT_FORMAT } = source;
  const rows = tableRows(file, format.delimiter);
  const first = rows.next();
  if (first.done === true) throw new UsageError(`${file}: expected rows, got an empty file`);
  const columns = findColumns(source, first.value);
  const reader = new RowReader(file, columns, format);
  if (!format.header) reader.add(first.value);
  for (const row of rows) reader.add(row);
  if (reader.labels.count === 0) {
    throw new UsageError(`${file}: expected rows below the header, got none`);
  }
  return { columns, values: reader.values, labels: reader.labels };
}

/** Stores rows, and refuses wrong ones. */
class RowReader {
  readonly values: TableValues;
  readonly labels: ClassLabels;

  constructor(
    readonly file: string,
    readonly columns: Columns,
    readonly format: TableFormat,
  ) {
    this.values = new TableValues(columns.names.length - 1);
    this.labels = new ClassLabels(file, columns.names[columns.label]!);
  }

  add({ cells, line }: Row): void {
    const { names, label } = this.columns;
    if (cells.length !== names.length) {
      throw new UsageError(
        `${this.file}, line ${line}: expected ${names.length} cells, got ${cells.length}`,
      );
    }
    const text = cells[label]!;
    if (this.format.missing === "mean" && isMissing(text)) {
      throw new UsageError(
        `${this.file}, line ${line}: expected a class in ${names[label]!}, got ${JSON.stringify(text)} (--missing fills no classes)`,
      );
    }
    this.labels.add(text, line);
    const row = this.values.addRow(this.file);
    let next = 0;
    for (let column = 0; column < cells.length; column++) {
      if (column !== label) row[next++] = this.#number(cells[column]!, column, line);
    }
  }

  #number(cell: string, column: number, line: number): number {
    const value = cell === "" ? NaN : Number(cell);
    // False for NaN too.
    if (Math.abs(value) <= MAX_FLOAT32) return value;
    const missing = isMissing(cell);
    if (missing && this.format.missing === "mean") return NaN;
    const expected = Number.isFinite(value)
      ? `a number of at most ${MAX_FLOAT32.toPrecision(3)}`
      : "a finite number";
    const hint = missing ? " (--missing mean fills missing values)" : "";
    throw new UsageError(
      `${this.file}, line ${line}: expected ${expected} in ${this.columns.names[column]!}, got ${JSON.stringify(cell)}${hint}`,
    );
  }
}

function isMissing(cell: string): boolean {
  return cell.length <= 4 && MISSING_TEXTS.has(cell.toLowerCase());
}

function findColumns({ file, label, format = DEFAULT_FORMAT }: CsvSource, first: Row): Columns {
  const { cells, line } = first;
  const wrongDelimiter = likelyDelimiter(cells);
  if (wrongDelimiter !== null && cells.length === 1) {
    throw new UsageError(
      `${file}, line ${line}: expected ${delimiterName(format.delimiter)} between cells, got ${delimiterName(wrongDelimiter)} (--delimiter ${wrongDelimiter === "\t" ? "tab" : `"${wrongDelimiter}"`})`,
    );
  }
  if (cells.length === 1) {
    throw new UsageError(`${file}, line ${line}: expected two columns or more, got one`);
  }
  if (!format.header) return numberedColumns(label, cells.length);
  const names = cells.map((name) => `column ${JSON.stringify(name)}`);
  const seen = new Set<string>();
  for (const name of cells) {
    if (seen.has(name)) {
      throw new UsageError(
        `${file}, line ${line}: expected each column once, got ${JSON.stringify(name)} twice`,
      );
    }
    seen.add(name);
  }
  const index = cells.indexOf(label);
  if (index >= 0) return { names, label: index };
  const shown = cells.slice(0, 20).map((name) => JSON.stringify(name));
  if (cells.length > shown.length) shown.push(`… (${cells.length} columns)`);
  throw new UsageError(
    `--label: expected a column of ${file}, ${shown.join(", ")}, got ${JSON.stringify(label)}`,
  );
}

/** Without a header, columns have numbers from 1. */
function numberedColumns(label: string, count: number): Columns {
  const number = /^\d+$/.test(label) ? Number(label) : 0;
  if (number < 1 || number > count) {
    throw new UsageError(
      `--label: expected a column number from 1 to ${count} with --no-header, got ${JSON.stringify(label)}`,
    );
  }
  return {
    names: Array.from({ length: count }, (_, index) => `column ${index + 1}`),
    label: number - 1,
  };
}

function likelyDelimiter(cells: readonly string[]): string | null {
  return [",", ";", "\t", "|"].find((delimiter) => cells[0]!.includes(delimiter)) ?? null;
}

function delimiterName(delimiter: string): string {
  return delimiter === "\t" ? "tabs" : JSON.stringify(delimiter);
}

/**
 * Every fifth row of each class, in a shuffled order, is held out. In loops: from and filter of typed
 * arrays collect their values in ordinary arrays first, which are larger than the table.
 */
function split(
  { file, seed }: CsvSource,
  labels: Uint16Array,
): { train: Int32Array; test: Int32Array } {
  const order = new Int32Array(labels.length);
  for (let row = 0; row < order.length; row++) order[row] = row;
  new Random(seed, STREAMS.testRows).shuffle(order);
  const train = new Int32Array(labels.length);
  const test = new Int32Array(Math.floor(labels.length / HELD_OUT_EVERY));
  const seen = new Map<number, number>();
  let trainCount = 0;
  let testCount = 0;
  for (const row of order) {
    const count = (seen.get(labels[row]!) ?? 0) + 1;
    seen.set(labels[row]!, count);
    if (count % HELD_OUT_EVERY === 0) test[testCount++] = row;
    else train[trainCount++] = row;
  }
  if (testCount === 0) {
    throw new UsageError(
      `${file}: expected ${HELD_OUT_EVERY} rows or more of a class for a test set, got ${labels.length} rows in all`,
    );
  }
  return { train: train.subarray(0, trainCount), test: test.subarray(0, testCount) };
}
