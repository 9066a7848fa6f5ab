/** Measurements run in programs of their own: no rival inherits another's memory or compiled code. */
import { fork } from "node:child_process";

/** How long everything may take. */
export interface Effort {
  readonly rounds: number;
  /** Fewer sizes. */
  readonly quick: boolean;
}

const PROGRAM = new URL("./child.js", import.meta.url);

/**
 * Runs `measure(task)` of a module in a new process.
 *
 * @param module path of a module beside this one
 */
export function inNewProcess<Outcome>(module: string, task: object): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = fork(PROGRAM, [module, JSON.stringify(task)], { serialization: "advanced" });
    let outcome: { value: Outcome } | null = null;
    child.once("message", (message) => {
      outcome = message as { value: Outcome };
    });
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      if (code === 0 && outcome !== null) resolve(outcome.value);
      else reject(new Error(`${module} ended with ${String(signal ?? code)}`));
    });
  });
}
