import { describeMachine, measuredAt } from "../machine.js";
import type { Machine } from "../machine.js";
import { inNewProcess } from "../measure/in-new-process.js";
import type { Effort } from "../measure/in-new-process.js";
import type { TfjsTask, TfjsTimes } from "../measure/tfjs.js";
import { spread } from "../results.js";
import type { Selection, Table } from "../results.js";
import type { TfjsBackend } from "../rivals/tfjs-problem.js";

const TASKS: readonly Pick<TfjsTask, "backend" | "threads">[] = [
  { backend: "cpu", threads: 2 },
  { backend: "cpu", threads: 1 },
  { backend: "wasm", threads: 2 },
  { backend: "wasm", threads: 1 },
  { backend: "webgl", threads: 1 },
  { backend: "webgpu", threads: 1 },
];

const WHERE: Readonly<Record<TfjsBackend, string>> = {
  cpu: "in Node",
  wasm: "in Node",
  webgl: "in headless Chromium on SwiftShader",
  webgpu: "in headless Chromium on SwiftShader",
};

/** What was measured, and when. */
interface Measured extends TfjsTimes {
  readonly threads: number;
  readonly machine: Machine;
}

/** With a selection, backends by name; the others keep what an earlier run has left. */
export async function* tfjs({ quick, rounds }: Effort, { at, earlier }: Selection) {
  const measured = new Map((earlier as Measured[]).map((times) => [keyOf(times), times]));
  for (const task of TASKS) {
    if (at !== null && !at.includes(task.backend)) continue;
    if (quick && task.threads === 1 && WHERE[task.backend] === "in Node") continue;
    console.log(`  ${keyOf(task)}`);
    const machine = describeMachine();
    const effort = { quick, rounds: Math.min(rounds, 5) };
    const times = await inNewProcess<TfjsTimes>("./tfjs.js", { ...task, ...effort });
    measured.set(keyOf(task), { ...times, threads: task.threads, machine });
    const all = TASKS.flatMap((done) => measured.get(keyOf(done)) ?? []);
    yield { title: "TensorFlow.js", tables: [tableOf(all)], raw: all };
  }
}

function keyOf({ backend, threads }: { backend: string; threads: number }): string {
  return `${backend}, ${threads}`;
}

function tableOf(all: readonly Measured[]): Table {
  return {
    title: "A step of a perceptron",
    notes: [
      `Milliseconds a step: median (p10–p90) of 5 rounds at most; the last column is how many times faster than \`tf.train.momentum\` on the same backend, within each round. LARS takes norms (rule \`clip-update\`) and has weight decay, momentum does neither.`,
      "Weights were held to the oracle before; steps on a device are timed until it has made them.",
      all
        .map((times) => `\`${times.backend}\`, ${times.threads}:${measuredAt(times.machine)}`)
        .join(" "),
    ],
    head: ["backend", "parameters", "", "threads", "ms a step", "times faster"],
    rows: all.flatMap(({ backend, size, rows }) =>
      rows.map(({ rule, bits, threads, time, faster }) => [
        ...[`\`${backend}\`, ${WHERE[backend]}`, size.toLocaleString("en")],
        rule === "momentum" ? "`tf.train.momentum`" : bits === 32 ? "LARS" : "LARS8bit",
        ...[String(threads), spread(time), rule === "momentum" ? "1" : spread(faster)],
      ]),
    ),
  };
}
