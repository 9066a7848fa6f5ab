/** Programs and what every rank should make of them, whoever the ranks are: threads, or processes of mpirun. */
import { expectOutcomes, Oracle } from "./oracle.js";
import type { Expected } from "./oracle.js";
import type { Command, Outcome } from "./program.js";

/** A program, and what is expected after each of its commands. */
export interface CheckedProgram {
  readonly commands: readonly Command[];
  readonly expected: readonly Expected[];
}

/** Those commands that mean something, one after the other. */
export function checkedProgram(size: number, drawn: readonly Command[]): CheckedProgram {
  const oracle = new Oracle(size);
  const commands: Command[] = [];
  const expected: Expected[] = [];
  for (const command of drawn) {
    if (!oracle.canRun(command)) continue;
    commands.push(command);
    expected.push(oracle.expected(command));
  }
  oracle.dispose();
  return { commands, expected };
}

/** @param outcomes by rank */
export function expectProgram(program: CheckedProgram, outcomes: readonly Outcome[][]): void {
  program.commands.forEach((command, index) => {
    const ofCommand = outcomes.map((ofRank) => ofRank[index]!);
    expectOutcomes(ofCommand, program.expected[index]!, `command ${index}, ${command.kind}`);
  });
}
