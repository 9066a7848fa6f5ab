/** The packed library's declarations, as a program sees them that checks libraries too (`skipLibCheck: false`). */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { folder, run } from "./workspace.mjs";

const require = createRequire(import.meta.url);
const tsc = require.resolve("typescript/bin/tsc");

const core = `
import { excludeFromAdaptation, gradientNoise, LARS, LARS8bit, Parameter, presets, schedules } from "layerwise";
import { decodeCheckpoint, encodeCheckpoint } from "layerwise/checkpoint";
import { createDynamicMap, dequantizeBlockwise, quantizeBlockwise } from "layerwise/quantization";
const weights = Parameter.allocate([4, 4], { name: "weights" });
const optimizer = new LARS8bit(excludeFromAdaptation([weights]), { lr: 1 });
export const applied: number = optimizer.step().layers.length;
export { createDynamicMap, decodeCheckpoint, dequantizeBlockwise, encodeCheckpoint, quantizeBlockwise };
export { gradientNoise, LARS, presets, schedules };
`;
const jax = `
import { lars, lars8bit, optimizerFor } from "layerwise/jax";
export const transformations = [lars({ lr: 0.1 }), lars8bit({ lr: 0.1 })];
export { optimizerFor };
`;
const adapter = `
import { createLars } from "layerwise/tfjs";
export { createLars };
`;
const tfjs = `
import * as tf from "@tensorflow/tfjs-core";
import { createLars } from "layerwise/tfjs";
const { LARS8bit } = createLars(tf);
export const optimizer = new LARS8bit({ lr: 0.1 });
`;

/** Programs: what is installed beside layerwise, what they compile with, and whether other declarations may be wrong. */
export const programs = [
  { name: "core, ES2022 only", source: core, lib: ["ES2022"] },
  { name: "core, with DOM", source: core, lib: ["ES2022", "DOM"] },
  { name: "layerwise/tfjs without any peer, ES2022 only", source: adapter, lib: ["ES2022"] },
  // jax-js' declarations name Float16Array and GPUDevice.
  { name: "layerwise/jax", source: jax, lib: ["ESNext", "DOM"], peer: "@jax-js/jax" },
  // Those of tfjs-core 4.22 do not compile by themselves: Long, and a WebGPU other than TypeScript's.
  {
    name: "layerwise/tfjs",
    source: tfjs,
    lib: ["ES2022", "DOM"],
    peer: "@tensorflow/tfjs-core",
    onlyOurs: true,
  },
];

/** An entry needs its own peer; the compiler must then say which. */
export const programWithoutPeer = { source: jax, lib: ["ESNext", "DOM"] };

/** Installs a program's packages into a folder of its own and compiles it. @returns the errors */
export async function compile({ source, lib, peer, onlyOurs = false }, tarball) {
  const directory = join(folder, `types-${Math.random().toString(36).slice(2)}`);
  mkdirSync(directory);
  const compilerOptions = {
    ...{ strict: true, noEmit: true, skipLibCheck: false, types: [], lib, target: "ES2022" },
    ...{ module: "NodeNext", moduleResolution: "NodeNext" },
  };
  const files = {
    "package.json": { private: true, type: "module" },
    "tsconfig.json": { compilerOptions, files: ["program.ts"] },
  };
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(directory, name), JSON.stringify(content));
  }
  writeFileSync(join(directory, "program.ts"), source);
  const packages = peer === undefined ? [tarball] : [tarball, `${peer}@${installedVersion(peer)}`];
  const quietly = ["--silent", "--no-audit", "--no-fund", "--prefer-offline"];
  await run("npm", ["install", ...quietly, ...packages], { cwd: directory });
  try {
    await run(process.execPath, [tsc, "--pretty", "false", "-p", "."], { cwd: directory });
    return [];
  } catch (error) {
    const errors = (error.output ?? "").split("\n").filter((line) => line.includes("error TS"));
    if (errors.length === 0) throw error;
    return onlyOurs ? errors.filter((line) => !isElsewhere(line)) : errors;
  }
}

/** Whether an error stands in a file that is neither the program nor the library's. */
function isElsewhere(line) {
  return /^[^(]+\(\d+,\d+\)/.test(line) && !/^(program\.ts|node_modules\/layerwise\/)/.test(line);
}

/** The version that this folder's lock file has. */
function installedVersion(name) {
  const lock = new URL("package-lock.json", import.meta.url);
  return JSON.parse(readFileSync(lock, "utf8")).packages[`node_modules/${name}`].version;
}
