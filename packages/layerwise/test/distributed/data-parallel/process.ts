/**
 * One process of mpirun that runs programs of data-parallel training:
 * `node process.mjs <the library's mpi.js> <programs> <folder for outcomes>`.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { deserialize, serialize } from "node:v8";
import type { Collective } from "../../../src/distributed/collective.js";
import type { Command } from "./program.js";
import { run } from "./run.js";

interface MpiModule {
  readonly Mpi: { init(): Promise<Collective> };
}

const [library = "", input = "", folder = ""] = process.argv.slice(2);
const { Mpi } = (await import(pathToFileURL(library).href)) as MpiModule;
const collective = await Mpi.init();
const programs = deserialize(readFileSync(input)) as Command[][];
const outcomes = programs.map((program) => run(collective, program));
writeFileSync(join(folder, `${collective.rank}.bin`), serialize(outcomes));
collective.finalize();
