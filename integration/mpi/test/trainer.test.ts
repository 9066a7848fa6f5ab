/** layerwise-train under mpirun: the weights of one process. large/ has more: 8 processes, searches, kills, errors. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { csvText } from "../../../packages/train/test/helpers/data.js";
import { checkpointHashes } from "../../../packages/train/test/helpers/folders.js";
import { describeEach, mpirun } from "./helpers/mpirun.js";

const CLI = fileURLToPath(new URL("../../../packages/train/dist/cli.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "layerwise-mpi-trainer-"));
const table = join(folder, "points.csv");
writeFileSync(table, csvText());
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Batches of 50 with micro-batches of 13: the last batch is unequal. */
const args = [
  ...["--data", table, "--label", "kind", "--hidden", "12", "--workers", "1", "--epochs", "2"],
  ...["--batch-size", "50", "--micro-batch", "13", "--optimizer", "lars8bit,sgd", "--lr", "0.05"],
];

describeEach("the weights of one process without mpirun, on two", (library) => {
  it.each([[[]], [["--shard-state"]]])("%j", async (extra) => {
    const name = `${library}${extra.join("")}`.replaceAll(" ", "");
    const alone = join(folder, `${name}-alone`);
    execFileSync(process.execPath, [CLI, ...args, "--out", alone]);
    const out = join(folder, name);
    const { code, stderr } = await mpirun(library, 2, [CLI, ...args, ...extra, "--out", out]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(checkpointHashes(out)).toEqual(checkpointHashes(alone));
  });
});
