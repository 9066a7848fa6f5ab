import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { VERSION } from "../src/version.js";

it("the version that processes compare is that of the package", () => {
  const manifest = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  expect((JSON.parse(manifest) as { version: string }).version).toBe(VERSION);
});
