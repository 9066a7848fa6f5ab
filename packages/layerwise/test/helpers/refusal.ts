/** What must fail, and how. */
import { expect } from "vitest";

export type ErrorType = typeof TypeError | typeof RangeError;

/** Runs what must fail and checks the error. */
export function expectRefusal(run: () => unknown, type: ErrorType, parts: readonly string[]): void {
  let thrown: unknown;
  try {
    run();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(type);
  for (const part of parts) expect((thrown as Error).message).toContain(part);
}
