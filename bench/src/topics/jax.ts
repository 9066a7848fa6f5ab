import { inNewProcess } from "../measure/in-new-process.js";
import type { Effort } from "../measure/in-new-process.js";
import type { JaxTimes } from "../measure/jax.js";
import { spread } from "../results.js";
import type { Table } from "../results.js";
import { FIELDS } from "../rivals/jax-problem.js";
import type { JaxField } from "../rivals/jax-problem.js";
import { hasBrowser } from "../rivals/page.js";

const WHERE: Readonly<Record<(typeof FIELDS)[JaxField]["device"], string>> = {
  wasm: "in Node",
  cpu: "in Node",
  webgpu: "in headless Chromium, on SwiftShader: the GPU is the processor",
};

export async function* jax({ quick, rounds }: Effort) {
  const all: JaxTimes[] = [];
  for (const field of Object.keys(FIELDS) as JaxField[]) {
    if (FIELDS[field].device === "webgpu" && !hasBrowser) {
      console.warn(`  ${field} is SKIPPED: there is no browser (set CHROMIUM_PATH)`);
      continue;
    }
    console.log(`  ${field}`);
    const task = { field, quick, rounds: Math.min(rounds, 7) };
    all.push(await inNewProcess<JaxTimes>("./jax.js", task));
    yield { title: "jax-js", tables: all.map(tableOf), raw: all };
  }
}

function tableOf({ field, size, layers, rows }: JaxTimes): Table {
  const { device } = FIELDS[field];
  return {
    title: `\`${device}\`, ${WHERE[device]}: ${size.toLocaleString("en")} parameters in ${layers} ${layers === 1 ? "layer" : "layers"}`,
    notes: [
      `Milliseconds a step, rule \`clip-update\`: median (p10–p90) of ${rows[0]!.samples.length} rounds. The last column is how many times faster than the first row, within each round. All weights were held to the oracle before.`,
    ],
    head: ["", "bits", "threads", "ms a step", "times faster"],
    rows: rows.map(({ name, bits, threads, time, faster }, index) => [
      ...[index === 0 ? "LARS in jax-js' operations, jit" : name, String(bits), String(threads)],
      ...[spread(time), index === 0 ? "1" : spread(faster)],
    ]),
  };
}
