/** DataParallel under mpirun against the local optimizer on the sums of gradients, to the bit; and the docs' program. */
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { expect, it } from "vitest";
import { programsOf } from "../../../packages/layerwise/test/distributed/data-parallel/draw.js";
import { describeEach, mpirun } from "./helpers/mpirun.js";
import { expectPrograms } from "./helpers/programs.js";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
/** Of one job. */
const PROGRAMS = 5;

describeEach("drawn programs, to the bit", (library) => {
  it.each([1, 2, 3, 4, 8])("on %i processes", async (size) => {
    const drawn = fc.sample(programsOf(size, 8), { numRuns: PROGRAMS, seed: 1000 + size });
    await expectPrograms(library, size, drawn);
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
