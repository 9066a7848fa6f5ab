/** Tables for readers, and the samples behind them for everybody else. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { Machine } from "./machine.js";
import { machineLine } from "./machine.js";
import type { Spread } from "./timing.js";

export interface Table {
  readonly title: string;
  /** What a number means. */
  readonly notes: readonly string[];
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface Results {
  /** Name of the files. */
  readonly topic: string;
  readonly title: string;
  readonly machine: Machine;
  readonly tables: readonly Table[];
  /** Everything that was measured. */
  readonly raw: unknown;
}

/** What of a topic is measured anew, and what is there from before. */
export interface Selection {
  /** Names of lists of layers, or of backends; null: all. */
  readonly at: readonly string[] | null;
  /** The lists' {@link Results.raw} of an earlier run; this program has written them. */
  readonly earlier: readonly unknown[];
}

export function readRaw(topic: string, folder: URL): readonly unknown[] {
  const file = new URL(`${topic}.json`, folder);
  if (!existsSync(file)) return [];
  const { raw } = JSON.parse(readFileSync(file, "utf8")) as { raw: unknown };
  return Array.isArray(raw) ? (raw as unknown[]) : [];
}

export function writeResults({ topic, title, machine, tables, raw }: Results, folder: URL): void {
  mkdirSync(folder, { recursive: true });
  const text = [
    `# ${title}`,
    `${machineLine(machine)} Written by \`npm run bench\`; the samples are in [${topic}.json](${topic}.json).`,
    ...tables.map(markdown),
  ].join("\n\n");
  writeFileSync(new URL(`${topic}.md`, folder), `${text}\n`);
  writeFileSync(new URL(`${topic}.json`, folder), JSON.stringify({ machine, raw }, rounded));
}

export function markdown({ title, notes, head, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const rule = head.map((_, column) => (column === 0 ? "---" : "---:"));
  const table = [line(head), line(rule), ...rows.map(line)].join("\n");
  return [`## ${title}`, ...notes, table].join("\n\n");
}

/** Four digits are more than the machine is good for. */
function rounded(_key: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isInteger(value)
    ? Number(value.toPrecision(4))
    : value;
}

/** Three digits. */
export function number(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value.toPrecision(3);
}

/** "12.3 (12.1–12.9)": the median, and p10 to p90. */
export function spread({ median, p10, p90 }: Spread): string {
  return `${number(median)} (${number(p10)}–${number(p90)})`;
}
