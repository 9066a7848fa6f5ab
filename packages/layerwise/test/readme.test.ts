/**
 * The programs in README.md and docs/ do what a reader would see: every block marked "js runnable" is run by
 * Node against the built package, under the name that users import. Where it prints losses, they fall.
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../../../", import.meta.url));

const pages = [
  "README.md",
  ...readdirSync(new URL("../../../docs/", import.meta.url))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];

interface Program {
  /** The page and the line on which the block starts. */
  readonly place: string;
  readonly source: string;
}

function programsOf(page: string): Program[] {
  const text = readFileSync(`${root}${page}`, "utf8");
  return [...text.matchAll(/^```js runnable\n(.*?)^```$/gms)].map(({ index, 1: source }) => ({
    place: `${page}, line ${text.slice(0, index).split("\n").length}`,
    source: source!,
  }));
}

/** Standard output of a program, which must end well and without a warning. */
function outputOf({ source }: Program): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module"], {
    cwd: root,
    input: source,
    encoding: "utf8",
    timeout: 50_000,
  });
  expect(stderr).toBe("");
  expect(status).toBe(0);
  return stdout;
}

function lossesIn(output: string): number[] {
  return [...output.matchAll(/\bloss (\S+?),?\s/g)].map(([, loss]) => Number(loss));
}

describe("programs in the documentation", () => {
  it.each(pages.flatMap(programsOf))(
    "$place: runs, and the losses that it says it prints fall",
    (program) => {
      const losses = lossesIn(outputOf(program));
      if (program.source.includes("loss ${")) expect(losses.length).toBeGreaterThanOrEqual(3);
      losses.forEach((loss, index) => {
        expect(loss).toBeGreaterThan(0);
        if (index > 0) expect(loss).toBeLessThan(losses[index - 1]!);
      });
    },
  );

  it("are in the README, one of them with a loss", () => {
    const sources = programsOf("README.md").map(({ source }) => source);
    expect(sources.filter((source) => source.includes("loss ${"))).not.toEqual([]);
  });
});
