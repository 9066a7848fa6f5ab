/** The two ways a run can fail, which are the two exit codes other than 0. */

/** An option, a data set or a run folder that can't be used: exit code 2, before any training. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Training that can't go on, for example a loss that is not finite: exit code 1. */
export class TrainingError extends Error {
  override readonly name = "TrainingError";
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
