/** Runs programs on threads against what is expected of them, and counts what they came to. */
import fc from "fast-check";
import { runs } from "../../helpers/arbitraries.js";
import { ranksOf } from "../ranks/run-on-ranks.js";
import type { Ranks } from "../ranks/run-on-ranks.js";
import { checkedProgram, expectProgram } from "./expect-program.js";
import type { Command, Outcome } from "./program.js";

export class ProgramsOnThreads {
  /** Of all programs, on any number of ranks. */
  readonly seen = { steps: 0, skipped: 0, errors: "" };
  readonly #ranks: Ranks<readonly Command[], Outcome[]>;

  private constructor(ranks: Ranks<readonly Command[], Outcome[]>) {
    this.#ranks = ranks;
  }

  static async start(): Promise<ProgramsOnThreads> {
    return new ProgramsOnThreads(await ranksOf(new URL("run.ts", import.meta.url)));
  }

  async expect(size: number, commands: readonly Command[]): Promise<void> {
    const program = checkedProgram(size, commands);
    const outcomes = await this.#ranks.run(size, program.commands);
    expectProgram(program, outcomes);
    for (const { report, error } of outcomes[0]!) {
      if (report !== null) this.seen.steps++;
      if (report?.skipped === true) this.seen.skipped++;
      this.seen.errors += `${error ?? ""}\n`;
    }
  }

  async expectDrawn(
    { size, programs }: { size: number; programs: number },
    drawn: fc.Arbitrary<readonly Command[]>,
  ): Promise<void> {
    const property = fc.asyncProperty(drawn, (commands) => this.expect(size, commands));
    // Shrinking would take hundreds of jobs, each with its threads.
    const parameters = { ...runs(programs), endOnFailure: true };
    await fc.assert(property, parameters as fc.Parameters<[readonly Command[]]>);
  }

  dispose(): Promise<void> {
    return this.#ranks.dispose();
  }
}
