/**
 * Programs that are saved to a file and go on in a new process, whose first step comes right after loading. The
 * oracle goes on there too; see model.test.ts.
 */
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { serialize } from "node:v8";
import { build } from "esbuild";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as checkpoint from "../../src/checkpoint.js";
import * as layerwise from "../../src/index.js";
import { runs } from "../helpers/arbitraries.js";
import { shownCommand } from "./model/command.js";
import type { Command } from "./model/command.js";
import { commandsOf, oneOf } from "./model/draw.js";
import { canRun, disposeAll, execute } from "./model/execute.js";
import { freeze } from "./model/freeze.js";
import type { Frozen } from "./model/freeze.js";
import { emptyReal } from "./model/real.js";
import type { Real } from "./model/real.js";
import { defaultOptions, emptyWorld } from "./model/world.js";

const TIMEOUT_MS = 240_000;
const RUNS = 100;
const library = { ...layerwise, ...checkpoint };

let folder: string;
let second: string;
let bundle: string;

/** A file of its own for a script and all that it imports. */
async function bundled(script: string, outfile: string): Promise<string> {
  await build({
    entryPoints: [fileURLToPath(new URL(script, import.meta.url))],
    ...{ bundle: true, outfile, format: "esm", platform: "node", target: "node20" },
  });
  return outfile;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerwise-"));
  second = await bundled("model/second-process.ts", join(folder, "second.mjs"));
  bundle = await bundled("model/library.ts", join(folder, "layerwise.mjs"));
}, TIMEOUT_MS);

afterAll(async () => {
  await rm(folder, { recursive: true });
});

interface Outcome {
  failures: { index: number; error: string }[];
  finished: number;
}

let files = 0;

/** Goes on with programs in a new process. */
async function goOn(programs: readonly Frozen[]): Promise<Outcome> {
  const file = join(folder, `programs-${files++}.bin`);
  await writeFile(file, serialize(programs));
  const child = spawn(process.execPath, [second, file, pathToFileURL(bundle).href], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: TIMEOUT_MS,
  });
  let [output, errors] = ["", ""];
  child.stdout.on("data", (data: Buffer) => (output += data.toString()));
  child.stderr.on("data", (data: Buffer) => (errors += data.toString()));
  await new Promise((resolve) => child.on("close", resolve));
  const lines = output
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as { index: number; error: string } | { finished: number });
  const finished = lines.find((line) => "finished" in line)?.finished;
  if (finished === undefined) throw new Error(`the second process ended early: ${errors}`);
  return { finished, failures: lines.filter((line) => "error" in line) };
}

/** Runs commands as far as they mean something, and saves what there is then. */
function firstHalf(commands: readonly Command[], kernel: Real["kernel"], then: Command[]): Frozen {
  const world = emptyWorld();
  const real = emptyReal(library, kernel);
  for (const command of commands) if (canRun(command, world)) execute(command, world, real);
  const frozen = structuredClone(freeze(world, real, then));
  disposeAll(world, real);
  return frozen;
}

function step(optimizer: number, seed: number): Command {
  return { kind: "step", optimizer, values: { seed, scale: 1, zeros: 0 }, gradScale: 1 };
}

describe.each(["wasm", "reference"] as const)("%s kernel", { timeout: TIMEOUT_MS }, (name) => {
  const kernel = { kernel: name, threads: 1 };

  describe.each([8, 32] as const)("default options with momentum, %s bits", (optimBits) => {
    const options = { ...defaultOptions, momentum: 0.9, optimBits };
    const values = { seed: 3, scale: 1, zeros: 0 };

    it.each([
      { size: 100_000, where: "outside" },
      { size: 700_000, where: "outside" },
      { size: 150_000, where: "inside" },
      { size: 150_000, where: "inside, with a gradient outside" },
    ])("the first step of a new process: $size elements $where", async ({ size, where }) => {
      const layer = { size, isNamed: true, values };
      const isOutside = where === "outside";
      const first: Command[] = [
        isOutside ? { ...layer, kind: "wrap", origin: "plain" } : { ...layer, kind: "allocate" },
        ...(where.includes("gradient")
          ? [{ kind: "setGradient" as const, pick: 0, way: "own" as const, values }]
          : []),
        { kind: "construct", className: "LARS", picks: [0], isTwice: false, options, second: null },
        step(0, 1),
        step(0, 2),
      ];
      const program = firstHalf(first, kernel, [step(0, 3), step(0, 4)]);
      expect(program.world.optimizers[0]?.steps).toBe(2);
      expect(await goOn([program])).toEqual({ finished: 1, failures: [] });
    });
  });

  it(`${RUNS} random programs go on in a new process, each with a new copy of the library`, async () => {
    const { seed } = runs(RUNS);
    const drawn = fc.sample(
      fc.tuple(
        fc.array(oneOf("allocate", "wrap"), { minLength: 1, maxLength: 4 }),
        oneOf("construct"),
        commandsOf(25),
        commandsOf(15),
      ),
      { numRuns: RUNS, ...(seed === undefined ? {} : { seed }) },
    );
    const programs = drawn.map(([layers, optimizer, before, after], index) =>
      firstHalf([...layers, optimizer, step(0, index), ...before], kernel, [
        step(index, 1000 + index),
        ...after,
      ]),
    );
    const { failures, finished } = await goOn(programs);
    expect(finished).toBe(RUNS);
    const [failure] = failures;
    if (failure === undefined) return;
    const [layers, optimizer, before, after] = drawn[failure.index]!;
    const shown = [...layers, optimizer, ...before].map(shownCommand).join("\n");
    expect.fail(
      `${failures.length} programs, the first of them number ${failure.index} of seed ${String(seed)}:\n${failure.error}\nbefore:\n${shown}\nafter:\n${after.map(shownCommand).join("\n")}`,
    );
  });
});
