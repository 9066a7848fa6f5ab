/**
 * The second process: `node second.mjs <programs> <library>` goes on with each program of a file, with a copy of the
 * library that has done nothing yet, and prints a line of JSON for each that goes wrong.
 */
import { readFileSync } from "node:fs";
import { deserialize } from "node:v8";
import { resume } from "./freeze.js";
import type { Frozen } from "./freeze.js";
import type { Library } from "./real.js";

const [, , file, library] = process.argv;
const programs = deserialize(readFileSync(file!)) as Frozen[];
for (const [index, program] of programs.entries()) {
  try {
    resume(program, (await import(`${library!}?${index}`)) as Library);
  } catch (error) {
    console.log(JSON.stringify({ index, error: String((error as Error).stack) }));
  }
}
console.log(JSON.stringify({ finished: programs.length }));
