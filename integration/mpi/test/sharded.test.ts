/** ShardedLARS under mpirun against the local optimizer on the sums of gradients, to the bit. */
import fc from "fast-check";
import { it } from "vitest";
import {
  programsOf,
  sharded,
  sizeAroundChunks,
} from "../../../packages/layerwise/test/distributed/data-parallel/draw.js";
import { describeEach } from "./helpers/mpirun.js";
import { expectPrograms } from "./helpers/programs.js";

/** Of one job. */
const PROGRAMS = 5;

describeEach("drawn programs with layers around multiples of the chunk, to the bit", (library) => {
  it.each([1, 2, 3, 4, 8])("on %i processes", async (size) => {
    const any = programsOf(size, 6, sizeAroundChunks);
    const drawn = fc.sample(any, { numRuns: PROGRAMS, seed: 2000 + size });
    await expectPrograms(
      library,
      size,
      drawn.map((commands) => commands.map(sharded)),
    );
  });
});
