/** What must throw. */
import { demand } from "./verify.js";

/** Runs what must throw. @returns the error's message */
export function refusal(call: () => unknown, what: string): string {
  try {
    call();
  } catch (error) {
    demand(error instanceof Error, () => `${what}: threw ${String(error)}`);
    return error.message;
  }
  demand(false, () => `${what}: no error`);
}

/** What must throw, with one of these words in the message. */
export function demandRefusal(call: () => unknown, words: readonly string[], what: string): void {
  const message = refusal(call, what);
  demand(
    words.some((word) => message.includes(word)),
    () => `${what}: the error names none of ${words.join(", ")}: ${message}`,
  );
}
