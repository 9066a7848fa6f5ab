/**
 * All tables: `node dist/main.js [--quick] [--only=step-time,small-layers,overhead,memory,mpi,jax,tfjs,peers] [--at=25,resnet50]`.
 * Writes results/<processor>/<topic>.md and .json: ratios depend on the machine, so tables of two are never mixed. With --at, only those lists of layers are measured (backends, of tfjs), of
 * topics that have such lists, and the others keep what an earlier run has left.
 */
import { parseArgs } from "node:util";
import { describeMachine, folderName } from "./machine.js";
import type { Effort } from "./measure/in-new-process.js";
import { readRaw, writeResults } from "./results.js";
import type { Results, Selection } from "./results.js";
import { checkTheCheck } from "./rival.js";
import { jax } from "./topics/jax.js";
import { memory } from "./topics/memory.js";
import { mpi } from "./topics/mpi.js";
import { overhead } from "./topics/overhead.js";
import { peers } from "./topics/peers.js";
import { smallLayers } from "./topics/small-layers.js";
import { stepTime } from "./topics/step-time.js";
import { tfjs } from "./topics/tfjs.js";

/**
 * Gives its results again whenever there are more of them, so that a run that is ended early leaves what it has.
 * A topic that cannot run on this machine says why on the console and gives none.
 */
type Topic = (
  effort: Effort,
  selection: Selection,
) => AsyncIterable<Omit<Results, "machine" | "topic">>;

const TOPICS: Readonly<Record<string, Topic>> = {
  peers,
  "step-time": stepTime,
  "small-layers": smallLayers,
  overhead,
  memory,
  mpi,
  jax,
  tfjs,
};

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string", default: Object.keys(TOPICS).join(",") },
    at: { type: "string" },
  },
});
const effort: Effort = { quick: values.quick, rounds: values.quick ? 3 : 11 };
const folder = new URL(
  values.quick ? "../dist/quick-results/" : `../results/${folderName(describeMachine())}/`,
  import.meta.url,
);

checkTheCheck();
for (const topic of values.only.split(",")) {
  const run = TOPICS[topic];
  if (run === undefined)
    throw new Error(`no topic ${topic}; there are ${Object.keys(TOPICS).join(", ")}`);
  const machine = describeMachine();
  const start = performance.now();
  console.log(`${topic} …`);
  const selection = {
    at: values.at?.split(",") ?? null,
    earlier: values.at === undefined ? [] : readRaw(topic, folder),
  };
  for await (const results of run(effort, selection)) {
    writeResults({ ...results, topic, machine }, folder);
  }
  console.log(`${topic}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
}
