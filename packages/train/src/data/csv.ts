/**
 * Tables: a header, numbers, and one column of classes, which may be words. A part of the rows is held
 * out as the test set; the columns are standardised with the statistics of the others.
 */
import { parse } from "csv-parse/sync";
import { UsageError, messageOf } from "../errors.js";
import { readLimited } from "../files.js";
import { Random, STREAMS } from "../random.js";
import { sharedFloat32, sharedUint16 } from "./dataset.js";
import type { Dataset, Samples } from "./dataset.js";

/** Limits on what a table may be: 256 MiB, and 1,000 classes, above which a column is hardly a class. */
const MAX_BYTES = 2 ** 28;
const MAX_CLASSES = 1000;

/** Of the rows of a class, every fifth goes to the test set. */
const HELD_OUT_EVERY = 5;

/** Where a table is, which of its columns is the class, and the seed of the held-out part. */
export interface CsvSource {
  file: string;
  label: string;
  seed: number;
}

interface Row {
  line: number;
  cells: string[];
}

interface Table {
  columns: number;
  /** Row after row. */
  values: Float64Array;
  /** As they stand in the table. */
  labels: string[];
}

/**
 * Reads a table.
 *
 * @throws UsageError that names the file, and the line where a line is wrong
 */
export function readCsv(source: CsvSource): Dataset {
  const table = readTable(source);
  const { classes, labels } = classesOf(source, table.labels);
  const parts = split(source, labels);
  const { values, columns } = standardise(table, parts.train);
  const part = (rows: Int32Array): Samples => {
    const features = sharedFloat32(rows.length * columns);
    rows.forEach((row, index) => {
      features.set(values.subarray(row * columns, (row + 1) * columns), index * columns);
    });
    return { features, labels: sharedUint16(rows.map((row) => labels[row]!)) };
  };
  return {
    name: source.file,
    featureShape: [columns],
    classes,
    train: part(parts.train),
    test: part(parts.test),
    mean: 0,
    scale: 1,
  };
}

function readTable(source: CsvSource): Table {
  const { file, label } = source;
  const [header, ...rows] = readRows(file);
  if (header === undefined) throw new UsageError(`${file}: is empty; allowed is a header and rows`);
  const labelColumn = findLabel(source, header);
  const names = header.cells.filter((_, index) => index !== labelColumn);
  if (names.length === 0) throw new UsageError(`${file}: has no column beside ${label}`);
  if (rows.length === 0) throw new UsageError(`${file}: has a header but no rows`);
  const values = new Float64Array(rows.length * names.length);
  let next = 0;
  for (const { cells, line } of rows) {
    cells.forEach((cell, index) => {
      if (index === labelColumn) return;
      const value = cell === "" ? NaN : Number(cell);
      if (!Number.isFinite(value)) {
        throw new UsageError(
          `${file}, line ${line}: column ${JSON.stringify(header.cells[index])} has ${JSON.stringify(cell)}; allowed is a finite number`,
        );
      }
      values[next++] = value;
    });
  }
  const labels = rows.map(({ cells, line }) => {
    const text = cells[labelColumn]!;
    if (text !== "") return text;
    throw new UsageError(`${file}, line ${line}: column ${JSON.stringify(label)} is empty`);
  });
  return { columns: names.length, values, labels };
}

function readRows(file: string): Row[] {
  const bytes = readLimited(file, MAX_BYTES);
  try {
    const records = parse(bytes, { bom: true, info: true, skip_empty_lines: true, trim: true });
    return (records as unknown as { record: string[]; info: { lines: number } }[]).map(
      ({ record, info }) => ({ line: info.lines, cells: record }),
    );
  } catch (error) {
    // csv-parse says which line: a quote that is not closed, a row of another length.
    throw new UsageError(`${file}: is no table: ${messageOf(error)}`);
  }
}

function findLabel({ file, label }: CsvSource, { cells }: Row): number {
  const twice = cells.find((name, index) => cells.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new UsageError(`${file}, line 1: the column ${JSON.stringify(twice)} is there twice`);
  }
  const index = cells.indexOf(label);
  if (index >= 0) return index;
  throw new UsageError(
    `--label: ${file} has no column ${JSON.stringify(label)}; it has ${cells.map((name) => JSON.stringify(name)).join(", ")}`,
  );
}

/** Numbers the classes, in the order of their numbers or of their words. */
function classesOf(
  { file, label }: CsvSource,
  texts: readonly string[],
): { classes: string[]; labels: Uint16Array } {
  // 1 and 1.0 are one class.
  const numeric = texts.every((text) => Number.isFinite(Number(text)));
  const names = numeric ? texts.map((text) => String(Number(text))) : texts;
  const classes = [...new Set(names)].sort(
    numeric ? (a, b) => Number(a) - Number(b) : (a, b) => (a < b ? -1 : 1),
  );
  if (classes.length < 2) {
    throw new UsageError(
      `${file}: column ${JSON.stringify(label)} is ${JSON.stringify(classes[0])} everywhere; a classifier needs two classes or more`,
    );
  }
  if (classes.length > MAX_CLASSES) {
    throw new UsageError(
      `${file}: column ${JSON.stringify(label)} has ${classes.length} classes; allowed are ${MAX_CLASSES}`,
    );
  }
  const numbers = new Map(classes.map((name, index) => [name, index]));
  return { classes, labels: Uint16Array.from(names, (name) => numbers.get(name)!) };
}

/** Every fifth row of each class, in a shuffled order, is held out. */
function split(
  { file, seed }: CsvSource,
  labels: Uint16Array,
): { train: Int32Array; test: Int32Array } {
  const order = Int32Array.from(labels, (_, row) => row);
  new Random(seed, STREAMS.testRows).shuffle(order);
  const seen = new Map<number, number>();
  const isHeldOut = Uint8Array.from(order, (row) => {
    const count = (seen.get(labels[row]!) ?? 0) + 1;
    seen.set(labels[row]!, count);
    return count % HELD_OUT_EVERY === 0 ? 1 : 0;
  });
  const test = order.filter((_, index) => isHeldOut[index] === 1);
  if (test.length === 0) {
    throw new UsageError(
      `${file}: has ${labels.length} rows; a test set needs ${HELD_OUT_EVERY} or more of a class`,
    );
  }
  return { train: order.filter((_, index) => isHeldOut[index] === 0), test };
}

/** Mean 0 and deviation 1 of each column over the training rows; a column that is constant becomes 0. */
function standardise(
  { values, columns }: Table,
  trainRows: Int32Array,
): { values: Float64Array; columns: number } {
  const standardised = new Float64Array(values.length);
  for (let column = 0; column < columns; column++) {
    let sum = 0;
    for (const row of trainRows) sum += values[row * columns + column]!;
    const mean = sum / trainRows.length;
    let squares = 0;
    for (const row of trainRows) squares += (values[row * columns + column]! - mean) ** 2;
    const deviation = Math.sqrt(squares / trainRows.length) || 1;
    for (let index = column; index < values.length; index += columns) {
      standardised[index] = (values[index]! - mean) / deviation;
    }
  }
  return { values: standardised, columns };
}
