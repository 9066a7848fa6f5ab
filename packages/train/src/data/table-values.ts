/** The numbers of a table, in chunks: a table that grows is never copied. */
import { UsageError } from "../errors.js";

/** 2^28 values take 2 GiB while a table is read, and 1 GiB afterwards. */
const MAX_VALUES = 2 ** 28;
/** 1 MiB. */
const CHUNK = 2 ** 17;

/** Rows of numbers in full precision; NaN is a missing value. */
export class TableValues {
  readonly columns: number;
  readonly #rowsPerChunk: number;
  readonly #chunks: Float64Array[] = [];
  #rows = 0;

  constructor(columns: number) {
    this.columns = columns;
    this.#rowsPerChunk = Math.max(1, Math.floor(CHUNK / columns));
  }

  /**
   * Memory for one more row.
   *
   * @throws UsageError, before any memory is taken, when the table is too large
   */
  addRow(where: string): Float64Array {
    if ((this.#rows + 1) * this.columns > MAX_VALUES) {
      throw new UsageError(
        `${where}: expected at most ${MAX_VALUES} values, got more: ${this.columns} columns are allowed ${Math.floor(MAX_VALUES / this.columns)} rows`,
      );
    }
    if (this.#rows === this.#chunks.length * this.#rowsPerChunk) {
      this.#chunks.push(new Float64Array(this.#rowsPerChunk * this.columns));
    }
    const row = this.#rows++;
    const start = this.startOf(row);
    return this.chunkOf(row).subarray(start, start + this.columns);
  }

  /** The chunk that holds a row, which begins at {@link startOf}. Creating a view for each row would take longer than its sums. */
  chunkOf(row: number): Float64Array {
    return this.#chunks[Math.floor(row / this.#rowsPerChunk)]!;
  }

  startOf(row: number): number {
    return (row % this.#rowsPerChunk) * this.columns;
  }
}
