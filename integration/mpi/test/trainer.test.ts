/** layerwise-train under mpirun: the weights of one process. large/ has more: 8 processes, searches, kills, errors. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { checkpointHashes } from "../../../packages/train/test/helpers/folders.js";
import { describeEach, mpirun } from "./helpers/mpirun.js";
import { CLI, trainerFiles } from "./helpers/trainer.js";

const { folder, args: small, remove } = trainerFiles();
afterAll(remove);
const rates = ["--optimizer", "lars8bit,sgd", "--lr", "0.05"];
const args = [...small, ...rates, "--workers", "1", "--epochs", "2"];

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
