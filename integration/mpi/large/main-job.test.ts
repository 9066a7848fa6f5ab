/** The main job, `npm start`'s setting, on 1, 2, 4 and 8 processes of both libraries: the weights of one process. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { checkpointHashes } from "../../../packages/train/test/helpers/folders.js";
import { describeEach, mpirun } from "../test/helpers/mpirun.js";
import { CLI } from "../test/helpers/trainer.js";

/** Eight processes that wait busily on two cores take many times as long as one. */
const PATIENCE_MS = 1_800_000;

const folder = mkdtempSync(join(tmpdir(), "layerwise-main-job-"));
const alone = join(folder, "alone");
beforeAll(() => {
  execFileSync(process.execPath, [CLI, "--out", alone]);
}, PATIENCE_MS);
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

describeEach("the main job", (library) => {
  it.each([1, 2, 4, 8])(
    "on %i processes",
    async (size) => {
      const out = join(folder, `${library}-${size}`.replaceAll(" ", ""));
      const args = [CLI, "--out", out];
      const { code, stderr, seconds } = await mpirun(library, size, args, {
        patienceMs: PATIENCE_MS,
      });
      console.log(`${library}, ${size} processes: ${seconds.toFixed(0)} s`);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(checkpointHashes(out)).toEqual(checkpointHashes(alone));
    },
    PATIENCE_MS,
  );
});
