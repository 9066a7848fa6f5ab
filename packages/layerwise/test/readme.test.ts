/**
 * The programs in README.md and docs/ do what a reader would see: every block marked "js runnable" is run by
 * Node against the built package, under the name that users import. Where it prints losses, they fall; where a block
 * "text output" follows, that is what it prints. Those of the README are also TypeScript, as they stand, under
 * `strict`. Links to files lead somewhere.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
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
  /** What the page says that it prints, if it says so. */
  readonly printed: string | undefined;
}

const PROGRAM = /^```js runnable\n(.*?)^```$(?:\n\n```text output\n(.*?)^```$)?/gms;

function programsOf(page: string): Program[] {
  const text = readFileSync(`${root}${page}`, "utf8");
  return [...text.matchAll(PROGRAM)].map(({ index, 1: source, 2: printed }) => ({
    place: `${page}, line ${text.slice(0, index).split("\n").length}`,
    source: source!,
    printed,
  }));
}

/** The files that a page links to, in Markdown and in HTML; without anchors. */
function linkedFiles(page: string): string[] {
  const text = readFileSync(`${root}${page}`, "utf8").replaceAll(/<!--.*?-->|^```.*?^```$/gms, "");
  const links = text.matchAll(/\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"/g);
  return [...links]
    .map(([, markdown, html]) => (markdown ?? html)!.replace(/#.*$/, ""))
    .filter((link) => link !== "" && !/^[a-z]+:/.test(link));
}

/** The anchors that a page links to in itself and in other pages, with the page they are in. */
function linkedAnchors(page: string): { target: string; anchor: string }[] {
  const text = readFileSync(`${root}${page}`, "utf8").replaceAll(/<!--.*?-->|^```.*?^```$/gms, "");
  return [...text.matchAll(/\]\(([^)\s#:]*)#([^)\s]+)\)/g)].map(([, file, anchor]) => ({
    target: file === "" ? page : join(dirname(page), file!),
    anchor: anchor!,
  }));
}

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(page: string): string[] {
  const text = readFileSync(`${root}${page}`, "utf8").replaceAll(/^```.*?^```$/gms, "");
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, "")
      .replaceAll(" ", "-"),
  );
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
      const output = outputOf(program);
      if (program.printed !== undefined) expect(output).toBe(program.printed);
      const losses = lossesIn(output);
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
      printed: undefined,
      source: 'import { LARS } from "layerwise";\nnew LARS(1);',
    };
    expect(typeErrors([wrong])).toEqual([expect.stringMatching(/^a wrong program, \+ 2: /)]);
  });

  it("are in the README, one of them with a loss", () => {
    const sources = programsOf("README.md").map(({ source }) => source);
    expect(sources.filter((source) => source.includes("loss ${"))).not.toEqual([]);
  });
});

describe("links in the documentation", () => {
  it.each([...pages, "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])(
    "of %s lead to files and headings",
    (page) => {
      const missing = linkedFiles(page).filter(
        (link) => !existsSync(`${root}${join(dirname(page), link)}`),
      );
      expect(missing).toEqual([]);
      const lost = linkedAnchors(page).filter(
        ({ target, anchor }) => !anchorsOf(target).includes(anchor),
      );
      expect(lost).toEqual([]);
    },
  );

  it("are found", () => {
    expect(linkedFiles("README.md")).toContain("docs/specification.md");
    expect(linkedAnchors("docs/references.md")).toContainEqual({
      target: "docs/references.md",
      anchor: "what-differs-everywhere",
    });
  });
});
