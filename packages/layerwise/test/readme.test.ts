/**
 * The programs in README.md and docs/ do what a reader would see: every block marked "js runnable" is run by
 * Node against the built package, under the name that users import. Where it prints losses, they fall. Those of the
 * README are also TypeScript, as they stand, under `strict`.
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";
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

/** What the TypeScript compiler says of programs, each as a module of its own in the root folder. */
function typeErrors(programs: readonly Program[]): string[] {
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    lib: ["lib.es2022.d.ts", "lib.dom.d.ts"],
    types: [],
    skipLibCheck: true,
  };
  const sources = new Map(
    programs.map(({ source }, index) => [`${root}readme-${String(index)}.mts`, source]),
  );
  const disk = ts.createCompilerHost(options);
  const host: ts.CompilerHost = {
    ...disk,
    readFile: (file) => sources.get(file) ?? disk.readFile(file),
    fileExists: (file) => sources.has(file) || disk.fileExists(file),
    getSourceFile: (file, language) => {
      const source = sources.get(file);
      return source === undefined
        ? disk.getSourceFile(file, language)
        : ts.createSourceFile(file, source, language);
    },
  };
  const compiled = ts.createProgram([...sources.keys()], options, host);
  return ts.getPreEmitDiagnostics(compiled).map(({ file, start, messageText }) => {
    const index = [...sources.keys()].indexOf(file?.fileName ?? "");
    const line = file?.getLineAndCharacterOfPosition(start ?? 0).line ?? 0;
    const text = ts.flattenDiagnosticMessageText(messageText, " ");
    return `${programs[index]?.place ?? "options"}, + ${String(line + 1)}: ${text}`;
  });
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

  it("are strict TypeScript as they stand, in the README", () => {
    const programs = programsOf("README.md");
    expect(typeErrors(programs)).toEqual([]);
    // A compiler that finds nothing anywhere would be no check.
    const wrong = {
      place: "a wrong program",
      source: 'import { LARS } from "layerwise";\nnew LARS(1);',
    };
    expect(typeErrors([wrong])).toEqual([expect.stringMatching(/^a wrong program, \+ 2: /)]);
  });

  it("are in the README, one of them with a loss", () => {
    const sources = programsOf("README.md").map(({ source }) => source);
    expect(sources.filter((source) => source.includes("loss ${"))).not.toEqual([]);
  });
});
