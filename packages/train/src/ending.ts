/** How the process ends: one line for what went wrong, and an exit code. */
import { CommanderError } from "commander";
import { TrainingError, UsageError, WriteError, messageOf } from "./errors.js";

const NAME = "layerwise-train";
const FAILED = 1;
const UNUSABLE = 2;
/** What a shell shows for a program that writes to a pipe without a reader: 128 + SIGPIPE. */
const NO_READER = 141;
/** Set to 1, it shows the stack of an error. */
const DEBUG = "LAYERWISE_DEBUG";

/** Prints what was thrown, unless it was before, and returns the exit code. */
export function endWith(error: unknown): number {
  if (process.env[DEBUG] === "1" && error instanceof Error) console.error(error.stack);
  const wasPrinted = error instanceof CommanderError || error instanceof TrainingError;
  if (error instanceof UsageError || error instanceof WriteError) {
    console.error(`${NAME}: ${oneLine(error.message)}`);
  } else if (!wasPrinted) {
    console.error(
      `${NAME}: unexpected error: ${oneLine(messageOf(error))}; ${DEBUG}=1 shows where`,
    );
  }
  return exitCodeOf(error);
}

/** The code alone: for processes whose error another one prints. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : UNUSABLE;
  return error instanceof UsageError ? UNUSABLE : FAILED;
}

/** Removes control characters: messages quote files, which can contain line ends and terminal commands. */
function oneLine(message: string): string {
  return message.replace(/\p{Cc}+/gu, " ");
}

/** Ends the process on errors that no promise delivers, such as those of the output. */
export function endOnStrayErrors(): void {
  process.on("uncaughtException", (error) => process.exit(endWith(error)));
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      // A reader that stops early, such as head, is no failure: say nothing.
      if (error.code === "EPIPE") process.exit(NO_READER);
      process.exit(endWith(new WriteError(`output: ${error.message}`, { cause: error })));
    });
  }
}
