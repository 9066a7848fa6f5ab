/** One rank of a program. */
import type { Collective } from "../../../src/distributed/collective.js";
import { Trainer } from "./program.js";
import type { Command, Outcome } from "./program.js";

export function run(collective: Collective, commands: readonly Command[]): Outcome[] {
  const trainer = new Trainer(collective);
  const outcomes = commands.map((command) => trainer.run(command));
  trainer.dispose();
  return outcomes;
}
