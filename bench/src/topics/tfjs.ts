import { describeMachine, measuredAt } from "../machine.js";
import type { Machine } from "../machine.js";
import { inNewProcess } from "../measure/in-new-process.js";
import type { Effort } from "../measure/in-new-process.js";
import type { TfjsTask, TfjsTimes } from "../measure/tfjs.js";
import { spread } from "../results.js";
import type { Selection, Table } from "../results.js";

type Task = Pick<TfjsTask, "backend" | "threads" | "place">;

/** In Node the heap of wasm can't be shared; in Chromium, TensorFlow.js has as many threads there as the kernels. */
const TASKS: readonly Task[] = [
  { backend: "cpu", threads: 2, place: "Node" },
  { backend: "cpu", threads: 1, place: "Node" },
  { backend: "wasm", threads: 2, place: "Chromium" },
  { backend: "wasm", threads: 1, place: "Node" },
  { backend: "webgl", threads: 1, place: "Chromium" },
  { backend: "webgpu", threads: 1, place: "Chromium" },
];

function placeName({ backend, place }: Task): string {
  if (place === "Node") return "in Node";
  const isDevice = backend !== "wasm";
  return `in headless Chromium${isDevice ? " on SwiftShader" : ", cross-origin isolated"}`;
}

/** What was measured, and when. */
interface Measured extends TfjsTimes {
  readonly threads: number;
  readonly machine: Machine;
}

interface Placed extends Measured {
  readonly where: string;
}

/** With a selection, backends by name; the others keep what an earlier run has left. */
export async function* tfjs({ quick, rounds }: Effort, { at, earlier }: Selection) {
  const measured = new Map((earlier as Measured[]).map((times) => [keyOf(times), times]));
  for (const task of TASKS) {
    if (at !== null && !at.includes(task.backend)) continue;
    if (quick && task.threads === 1 && task.place === "Node") continue;
    console.log(`  ${keyOf(task)}`);
    const machine = describeMachine();
    const times = await inNewProcess<TfjsTimes>("./tfjs.js", { ...task, quick, rounds });
    measured.set(keyOf(task), { ...times, threads: task.threads, machine });
    const all = TASKS.flatMap((done) => {
      const known = measured.get(keyOf(done));
      return known === undefined ? [] : { ...known, where: placeName(done) };
    });
    yield { title: "TensorFlow.js", tables: [tableOf(all)], raw: all };
  }
}

function keyOf({ backend, threads }: { backend: string; threads: number }): string {
  return `${backend}, ${threads}`;
}

function tableOf(all: readonly Placed[]): Table {
  return {
    title: "A step of a perceptron",
    notes: [
      `Milliseconds a step: median (p10–p90) of ${all[0]?.rows[0]?.samples.length ?? 0} rounds; the last column is how many times faster than \`tf.train.momentum\` on the same backend, within each round. LARS takes norms (rule \`clip-update\`) and has weight decay, momentum does neither.`,
      "Weights were held to the oracle before; steps on a device are timed until it has made them.",
      all
        .map((times) => `\`${times.backend}\`, ${times.threads}:${measuredAt(times.machine)}`)
        .join(" "),
    ],
    head: ["backend", "parameters", "", "threads", "ms a step", "times faster"],
    rows: all.flatMap(({ backend, where, size, rows }) =>
      rows.map(({ rule, bits, threads, time, faster }) => [
        ...[`\`${backend}\`, ${where}`, size.toLocaleString("en")],
        rule === "momentum" ? "`tf.train.momentum`" : bits === 32 ? "LARS" : "LARS8bit",
        ...[String(threads), spread(time), rule === "momentum" ? "1" : spread(faster)],
      ]),
    ),
  };
}
