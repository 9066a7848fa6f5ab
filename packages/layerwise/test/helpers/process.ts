/** Programs that run in a process of their own, on what was built. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const built = (file: string): string =>
  fileURLToPath(new URL(`../../dist/${file}`, import.meta.url));

export interface Run {
  /** Null when a signal ended it. */
  status: number | null;
  signal: NodeJS.Signals | null;
  /** What the program told. */
  told: Record<string, unknown>;
  stderr: string;
}

/** How a program is run. */
export interface RunOptions {
  /** Flags of Node. */
  flags?: readonly string[];
  /** Kilobytes of address space, as `ulimit -v` takes them. */
  addressSpace?: number;
  timeoutMs?: number;
}

/** What programs have: the library, what they want to tell, and what was warned of. */
const prelude = `
import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
const warnings = [];
const warn = console.warn;
console.warn = (...words) => { warnings.push(String(words[0])); };
const ours = () => warnings.filter((text) => text.startsWith("layerwise:"));
const threadCount = () => readdirSync("/proc/self/task").length;
const tell = (facts) => { process.stdout.write(JSON.stringify(facts) + "\\n"); };
/** Waits until a condition holds, or so long. */
const until = async (holds, ms) => {
  for (const end = Date.now() + ms; !holds() && Date.now() < end; ) await sleep(20);
  return holds();
};
`;

/** Imports the built library after what a program does before. */
function source(before: string, program: string): string {
  return `${prelude}${before}
const { LARS, LARS8bit, Parameter, accumulate } = await import(${JSON.stringify(built("index.js"))});
${program}`;
}

/**
 * Runs a program, which tells facts with `tell({ … })`; those of several calls come together.
 *
 * @param before what is done before the library is imported
 */
export async function runProgram(
  program: string,
  { flags = [], addressSpace, timeoutMs = 60_000 }: RunOptions = {},
  before = "",
): Promise<Run> {
  const node = [
    process.execPath,
    ...flags,
    "--input-type=module",
    "--eval",
    source(before, program),
  ];
  const [command, ...rest] =
    addressSpace === undefined
      ? node
      : ["bash", "-c", `ulimit -v ${addressSpace} && exec "$0" "$@"`, ...node];
  const child = spawn(command!, rest, {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (data: Buffer) => (stdout += data.toString()));
  child.stderr.on("data", (data: Buffer) => (stderr += data.toString()));
  const [status, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.on("close", (...end) => {
      resolve(end);
    });
  });
  const told = stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { status, signal, told: Object.assign({}, ...told) as Run["told"], stderr };
}
