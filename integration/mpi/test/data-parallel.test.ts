/** DataParallel under mpirun against the local optimizer on the sums of gradients, to the bit; and the docs' program. */
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { expect, it } from "vitest";
import { programsOf } from "../../../packages/layerwise/test/distributed/data-parallel/draw.js";
import {
  checkedProgram,
  expectProgram,
} from "../../../packages/layerwise/test/distributed/data-parallel/expect-program.js";
import { runOnProcesses } from "../../../packages/layerwise/test/distributed/data-parallel/run-on-processes.js";
import { describeEach, mpirun } from "./helpers/mpirun.js";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const LIBRARY = fileURLToPath(import.meta.resolve("layerwise/mpi"));
/** A job takes seconds to start, so it runs several programs. */
const PROGRAMS = 5;

describeEach("drawn programs, to the bit", (library) => {
  it.each([1, 2, 3, 4, 8])("on %i processes", async (size) => {
    const drawn = fc.sample(programsOf(size, 8), { numRuns: PROGRAMS, seed: 1000 + size });
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
  });
});

describeEach("the program in docs/distributed.md prints what the page says", (library) => {
  it.each([1, 4])("on %i processes", async (size) => {
    const page = readFileSync(join(ROOT, "docs/distributed.md"), "utf8");
    const [, code = "", output] =
      /^```js runnable\n(.*?)^```$\n\n```text output\n(.*?)^```$/ms.exec(page) ?? [];
    const folder = mkdtempSync(join(tmpdir(), "layerwise-mpi-"));
    try {
      symlinkSync(join(ROOT, "integration/mpi/node_modules"), join(folder, "node_modules"));
      writeFileSync(join(folder, "moons.mjs"), code);
      const { stdout, stderr } = await mpirun(library, size, [join(folder, "moons.mjs")]);
      expect({ stdout, stderr }).toEqual({ stdout: output, stderr: "" });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
