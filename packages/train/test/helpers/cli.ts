/** Runs the command line as it was built. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";

export const CLI = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));

export interface Outcome {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** A command line that runs, and how it will end. */
export interface Running {
  child: ChildProcess;
  outcome: Promise<Outcome>;
}

export function startCli(args: readonly string[], cwd = process.cwd()): Running {
  return start(process.execPath, [CLI, ...args], cwd);
}

/**
 * Runs a script of the shell, for pipes, limits and terminals.
 *
 * @param script uses `"$@"` for the command line
 */
export function runShell(script: string, args: readonly string[]): Promise<Outcome> {
  return start("bash", ["-c", script, "bash", process.execPath, CLI, ...args]).outcome;
}

function start(command: string, args: readonly string[], cwd = process.cwd()): Running {
  const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
  const texts = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (texts.stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (texts.stderr += chunk.toString()));
  const outcome = new Promise<Outcome>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      resolve({ code, signal, ...texts });
    });
  });
  return { child, outcome };
}

export function runCli(args: readonly string[], cwd?: string): Promise<Outcome> {
  return startCli(args, cwd).outcome;
}

/** Waits until something holds; a test's own time limit ends it otherwise. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}
