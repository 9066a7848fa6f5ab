/** docs/trainer.md names every option of the command line, and no other. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { runCli } from "./helpers/cli.js";

const page = readFileSync(
  fileURLToPath(new URL("../../../docs/trainer.md", import.meta.url)),
  "utf8",
);

/** What every command line has. */
const COMMON = ["--help", "--version"];

function optionsIn(text: string): string[] {
  const found = [...text.matchAll(/(?<![\w-])--[a-z][a-z-]*/g)].map(([option]) => option);
  return [...new Set(found)].filter((option) => !COMMON.includes(option)).sort();
}

it("docs/trainer.md names the options of layerwise-train and its sweep", async () => {
  const helps = await Promise.all([runCli(["--help"]), runCli(["sweep", "--help"])]);
  expect(optionsIn(page)).toEqual(optionsIn(helps.map(({ stdout }) => stdout).join("\n")));
});
