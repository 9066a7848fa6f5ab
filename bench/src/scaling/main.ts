/**
 * A model of step time on many processes: `npm --prefix bench run model [-- --tflops=2 --memory-gb=100]`. Prints its
 * assumptions, its tables, and how it compares with what was measured on this machine.
 */
import { parseArgs } from "node:util";
import { markdown } from "../results.js";
import { NETWORKS, SERVER, WORKLOADS } from "./assumptions.js";
import type { Processor } from "./assumptions.js";
import { checkFormulas } from "./check-formulas.js";
import { measuredTable } from "./measured.js";
import { batchTable, exchangeTable, stateTable } from "./tables.js";

const { values } = parseArgs({
  options: {
    tflops: { type: "string", default: String(SERVER.speed / 1e12) },
    "memory-gb": { type: "string", default: String(SERVER.memory / 1e9) },
    /** Of the topic mpi's results; default those of this processor. */
    measured: { type: "string" },
  },
});
const processor: Processor = {
  speed: 1e12 * positive("tflops", values.tflops),
  memory: 1e9 * positive("memory-gb", values["memory-gb"]),
};

checkFormulas();
const measured = measuredTable(
  values.measured === undefined
    ? undefined
    : new URL(`${values.measured}/`, `file://${process.cwd()}/`),
);
console.log(
  [
    "# A model of step time",
    assumptions(),
    ...WORKLOADS.flatMap((workload) => [
      markdown(exchangeTable(workload, processor)),
      markdown(stateTable(workload, processor)),
      markdown(batchTable(workload, processor)),
    ]),
    measured === null
      ? "No measurement of this machine to compare with: run `npm run bench -- --only=mpi` first."
      : markdown(measured),
  ].join("\n\n"),
);

function assumptions(): string {
  const links = NETWORKS.map(
    ({ name, latency }) => `${name} with ${(latency * 1e6).toFixed(0)} µs`,
  ).join(", ");
  return [
    `- A process computes ${processor.speed / 1e12} TFLOP/s, and its optimizer moves ${processor.memory / 1e9} GB/s.`,
    `- Every process has a link of its own, full duplex, and links do not slow each other down: ${links} a message.`,
    "- Nothing overlaps, and all processes are equally fast.",
    "- float32 gradients and weights travel. 8 bits make the state smaller, not the messages.",
    "- The layers' rule is clip-update; its bytes are counted as in the topic step-time.",
  ].join("\n");
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (value > 0 && Number.isFinite(value)) return value;
  throw new RangeError(`--${name}: expected a positive number, got ${text}`);
}
