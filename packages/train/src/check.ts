/** Checks of single option values, as they come from a command line (texts) or from config.json. */
import { UsageError, messageOf } from "./errors.js";

/** Longer values are cut in messages. */
const MAX_SHOWN = 100;

function refuse(option: string, value: unknown, expected: string): never {
  throw new UsageError(`${option}: expected ${expected}, got ${shown(value)}`);
}

function shown(value: unknown): string {
  // JSON can't express undefined.
  const text = (JSON.stringify(value) as string | undefined) ?? "nothing";
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`;
}

/** A text such as "1e-4", or a number. */
function toNumber(value: unknown): number {
  if (typeof value === "number") return value;
  return typeof value === "string" && value.trim() !== "" ? Number(value) : NaN;
}

/** What a number may be, and how an error message says so. */
interface NumberRange {
  from: number;
  to?: number;
  /** `from` itself is not allowed. */
  above?: boolean;
  /** `to` itself is not allowed. */
  below?: boolean;
}

export function checkNumber(option: string, value: unknown, range: NumberRange): number {
  const number = toNumber(value);
  const { from, to = Infinity, above = false, below = false } = range;
  const inRange =
    Number.isFinite(number) &&
    (above ? number > from : number >= from) &&
    (below ? number < to : number <= to);
  if (inRange) return number;
  const upper = to === Infinity ? "" : ` and ${below ? "<" : "≤"} ${to}`;
  return refuse(option, value, `a number ${above ? ">" : "≥"} ${from}${upper}`);
}

export function checkInteger(
  option: string,
  value: unknown,
  { from, to }: { from: number; to: number },
): number {
  const number = toNumber(value);
  if (Number.isInteger(number) && number >= from && number <= to) return number;
  return refuse(option, value, `a whole number from ${from} to ${to}`);
}

export function checkChoice<Choice extends string>(
  option: string,
  value: unknown,
  choices: readonly Choice[],
): Choice {
  const found = choices.find((choice) => choice === value);
  return found ?? refuse(option, value, `one of ${choices.join(", ")}`);
}

export function checkText(option: string, value: unknown): string {
  if (typeof value === "string" && value !== "") return value;
  return refuse(option, value, "a text");
}

export function checkFlag(option: string, value: unknown): boolean {
  return typeof value === "boolean" ? value : refuse(option, value, "true or false");
}

export function checkObject(what: string, value: unknown): Record<string, unknown> {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject ? (value as Record<string, unknown>) : refuse(what, value, "an object");
}

/** Parses a text as a JSON object. */
export function parseObject(what: string, text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${what}: expected JSON, got ${messageOf(error)}`);
  }
  return checkObject(what, value);
}

/** A comma-separated text, or an array: one or more entries, none twice. */
export function checkList<Entry>(
  option: string,
  value: unknown,
  checkEntry: (entry: unknown) => Entry,
): Entry[] {
  const entries: unknown[] = typeof value === "string" ? value.split(",") : asArray(value);
  if (entries.length === 0) refuse(option, value, "one or more values, separated by commas");
  return entries.map((entry) => checkEntry(typeof entry === "string" ? entry.trim() : entry));
}

export function checkDistinct<Entry>(option: string, entries: Entry[]): Entry[] {
  const twice = entries.find((entry, index) => entries.indexOf(entry) !== index);
  if (twice === undefined) return entries;
  throw new UsageError(`${option}: expected each once, got ${String(twice)} twice`);
}

function asArray(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [value];
}
