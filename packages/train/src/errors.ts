/** The ways a run can fail, which are the exit codes other than 0. */

/** An option, a data set or a run folder that can't be used: exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Training that can't continue, for example a loss that is not finite: exit code 1. Reported where it happens. */
export class TrainingError extends Error {
  override readonly name = "TrainingError";
}

/** A file of a run that can't be written, for example on a disk that is full: exit code 1. */
export class WriteError extends Error {
  override readonly name = "WriteError";
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
