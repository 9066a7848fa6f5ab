/** layerwise-train under mpirun: the same weights for any number of processes, after a kill too, and its exit codes. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { runCli } from "../../../packages/train/test/helpers/cli.js";
import { checkpointHashes } from "../../../packages/train/test/helpers/folders.js";
import { describeEach, mpirun } from "../test/helpers/mpirun.js";
import type { Library, Outcome, RunOptions } from "../test/helpers/mpirun.js";
import { CLI, trainerFiles } from "../test/helpers/trainer.js";

const { folder, args: small, remove } = trainerFiles();
afterAll(remove);
const rates = ["--optimizer", "lars8bit,sgd", "--lr", "0.05"];

function train(
  library: Library,
  size: number,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Outcome> {
  return mpirun(library, size, [CLI, ...args], options);
}

/** Processes of a run by what their command line names, highest id first. */
function processesOf(out: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const words = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0");
        return words[0] === process.execPath && words.includes(out);
      } catch {
        // It has ended.
        return false;
      }
    })
    .map(Number)
    .toSorted((a, b) => b - a);
}

/** What one process writes without a launcher. */
const alone: Record<"trained" | "searched" | "long", unknown> = {
  trained: null,
  searched: null,
  long: null,
};
const SEARCHED = ["--optimizer", "sgd+clip", "--epochs", "2"];
const LONG = [...rates, "--epochs", "60"];
beforeAll(async () => {
  const runs = {
    trained: [...rates, "--epochs", "2"],
    searched: SEARCHED,
    long: LONG,
  };
  for (const [name, args] of Object.entries(runs)) {
    const out = join(folder, `alone-${name}`);
    expect(await runCli([...small, ...args, "--out", out])).toMatchObject({ code: 0, stderr: "" });
    alone[name as keyof typeof alone] = checkpointHashes(out);
  }
});

describeEach("the weights of one process without mpirun", (library) => {
  it.each([
    [1, []],
    [2, []],
    [4, []],
    [8, []],
    [2, ["--shard-state"]],
    [4, ["--shard-state"]],
  ] as const)("on %i processes %j", async (size, extra) => {
    const out = join(folder, `${library}-${size}${extra.join("")}`.replaceAll(" ", ""));
    const args = [...small, ...rates, "--epochs", "2", "--workers", "1", ...extra, "--out", out];
    const { code, stdout, stderr } = await train(library, size, args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout.match(/^lars8bit .*test accuracy/gm)).toHaveLength(2);
    expect(checkpointHashes(out)).toEqual(alone.trained);
  });

  it("after a search", async () => {
    const out = join(folder, `${library}-searched`.replaceAll(" ", ""));
    const { code, stderr } = await train(library, 2, [...small, ...SEARCHED, "--out", out]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(checkpointHashes(out)).toEqual(alone.searched);
  });

  it.each([[[]], [["--shard-state"]]])(
    "after kill -9 of one of four, and --resume on two %j",
    async (extra) => {
      const out = join(folder, `${library}-killed${extra.join("")}`.replaceAll(" ", ""));
      const args = [...small, ...LONG, "--workers", "1", ...extra, "--out", out];
      const running = train(library, 4, args);
      while (!existsSync(join(out, "checkpoints", "lars8bit.safetensors"))) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      process.kill(processesOf(out)[0]!, "SIGKILL");
      expect((await running).code).not.toBe(0);
      const { code, stderr } = await train(library, 2, ["--resume", out, "--workers", "1"]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(checkpointHashes(out)).toEqual(alone.long);
    },
  );
});

describeEach("errors are told once, with their code", (library) => {
  it.each([
    [["--lr", "fast"], '--lr: expected a number > 0, got "fast"'],
    [["--no-such-option"], "unknown option '--no-such-option'"],
    [["--data", "/no/such.csv", "--label", "x"], "which does not exist"],
    [["--out", folder], "expected a new or empty folder"],
    [["sweep"], "sweep: expected one process, got 2"],
    [["--optimizer", "adamw", "--shard-state"], "--shard-state: expected optimizers of lars"],
  ])("%j", async (args, message) => {
    const { code, stderr } = await train(library, 2, args);
    expect(code).toBe(2);
    expect(stderr.split(message)).toHaveLength(2);
  });

  it("--help, once, with 0", async () => {
    const { code, stdout, stderr } = await train(library, 2, ["--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout.match(/^Usage:/gm)).toHaveLength(1);
  });

  it("training that diverges: 1", async () => {
    const out = join(folder, `${library}-diverges`.replaceAll(" ", ""));
    const args = [...small, "--optimizer", "sgd", "--lr", "1e30", "--out", out];
    const { code, stderr } = await train(library, 2, args);
    expect(code).toBe(1);
    expect(stderr.match(/is not finite at step/g)).toHaveLength(1);
  });
});
