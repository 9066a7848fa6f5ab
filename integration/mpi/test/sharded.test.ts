/** ShardedLARS under mpirun against the local optimizer on the sums of gradients, to the bit. */
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { expect, it } from "vitest";
import {
  programsOf,
  sharded,
  sizeAroundChunks,
} from "../../../packages/layerwise/test/distributed/data-parallel/draw.js";
import {
  checkedProgram,
  expectProgram,
} from "../../../packages/layerwise/test/distributed/data-parallel/expect-program.js";
import { runOnProcesses } from "../../../packages/layerwise/test/distributed/data-parallel/run-on-processes.js";
import { describeEach, mpirun } from "./helpers/mpirun.js";

const LIBRARY = fileURLToPath(import.meta.resolve("layerwise/mpi"));
/** A job takes seconds to start, so it runs several programs. */
const PROGRAMS = 5;

describeEach("drawn programs with layers around multiples of the chunk, to the bit", (library) => {
  it.each([1, 2, 3, 4, 8])("on %i processes", async (size) => {
    const any = programsOf(size, 6, sizeAroundChunks);
    const drawn = fc.sample(any, { numRuns: PROGRAMS, seed: 2000 + size });
    const programs = drawn.map((commands) => checkedProgram(size, commands.map(sharded)));
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
  });
});
