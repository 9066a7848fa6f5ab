/** Work that can be stopped and continued: a run or a sweep. */
import { constants } from "node:os";
import { WriteError } from "./errors.js";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Runs some work. A signal ends the process with its conventional exit code (Ctrl-C: 130), and a file that can't be
 * written ends the work; both say how to continue.
 *
 * @param command continues the work
 * @returns what the work returns
 */
export async function resumable<Result>(
  command: string,
  work: () => Promise<Result>,
): Promise<Result> {
  const toContinue = `continue with: ${command}`;
  const stop = (signal: NodeJS.Signals): void => {
    // Listeners run in order: the terminal is restored and the folder released before this line.
    process.once("exit", () => {
      console.error(`stopped by ${signal}; ${toContinue}`);
    });
    process.exit(128 + constants.signals[signal]);
  };
  for (const signal of SIGNALS) process.on(signal, stop);
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof WriteError)) throw error;
    throw new WriteError(`${error.message}; ${toContinue}`, { cause: error });
  } finally {
    for (const signal of SIGNALS) process.removeListener(signal, stop);
  }
}

/** A path, quoted for a shell where needed. */
export function shellWord(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
