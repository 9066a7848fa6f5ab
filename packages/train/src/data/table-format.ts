/** The format of a table, from the options. */
import { UsageError } from "../errors.js";

/** What to do with empty cells, NA and ?. */
export const MISSING = ["refuse", "mean"] as const;
export type Missing = (typeof MISSING)[number];

export interface TableFormat {
  /** One character between cells. */
  readonly delimiter: string;
  /** Whether the first line names the columns. */
  readonly header: boolean;
  readonly missing: Missing;
}

export const DEFAULT_FORMAT: TableFormat = { delimiter: ",", header: true, missing: "refuse" };

/** Letters, digits, spaces, quotes and the characters of numbers can't be delimiters: they occur in cells. */
const NO_DELIMITER = /[\p{L}\p{N}\p{M}"+\-._\r\n\f\v \0\ufeff]/u;

/** @throws UsageError for everything but one character, or the word tab */
export function checkDelimiter(option: string, value: unknown): string {
  if (value === "tab" || value === "\\t") return "\t";
  if (typeof value === "string" && value.length === 1 && !NO_DELIMITER.test(value)) return value;
  throw new UsageError(
    `${option}: expected one character such as ; or |, or tab, got ${JSON.stringify(value)}`,
  );
}
