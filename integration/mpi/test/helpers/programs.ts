/** Runs drawn programs of data-parallel training under mpirun, against what is expected of them. */
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import {
  checkedProgram,
  expectProgram,
} from "../../../../packages/layerwise/test/distributed/data-parallel/expect-program.js";
import type { Command } from "../../../../packages/layerwise/test/distributed/data-parallel/program.js";
import { runOnProcesses } from "../../../../packages/layerwise/test/distributed/data-parallel/run-on-processes.js";
import { mpirun } from "./mpirun.js";
import type { Library } from "./mpirun.js";

const LIBRARY = fileURLToPath(import.meta.resolve("layerwise/mpi"));

/** All programs run in one job, which takes seconds to start. */
export async function expectPrograms(
  library: Library,
  size: number,
  drawn: readonly (readonly Command[])[],
): Promise<void> {
  const programs = drawn.map((commands) => checkedProgram(size, commands));
  const outcomes = await runOnProcesses(
    async (processes, script, args) => {
      const { code, stderr } = await mpirun(library, processes, [script, ...args]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    },
    LIBRARY,
    { size, programs: programs.map(({ commands }) => commands) },
  );
  programs.forEach((program, index) => {
    expectProgram(program, outcomes[index]!);
  });
}
