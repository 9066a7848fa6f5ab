import { inNewProcess } from "../measure/in-new-process.js";
import type { Effort } from "../measure/in-new-process.js";
import type { TfjsBackend, TfjsTask, TfjsTimes } from "../measure/tfjs.js";
import { spread } from "../results.js";

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

export async function* tfjs({ quick, rounds }: Effort) {
  const all: TfjsTimes[] = [];
  for (const task of TASKS) {
    if (quick && task.threads === 1 && WHERE[task.backend] === "in Node") continue;
    console.log(`  ${task.backend}, ${task.threads}`);
    all.push(
      await inNewProcess<TfjsTimes>("./tfjs.js", { ...task, quick, rounds: Math.min(rounds, 7) }),
    );
    yield {
      title: "TensorFlow.js",
      tables: [
        {
          title: `A step of a perceptron: ${all[0]!.size.toLocaleString("en")} parameters in ${all[0]!.layers} layers`,
          notes: [
            `Milliseconds a step: median (p10–p90) of ${all[0]!.rows[0]!.samples.length} rounds; the last column is how many times faster than \`tf.train.momentum\` on the same backend, within each round. LARS takes norms (rule \`clip-update\`) and has weight decay, momentum does neither.`,
            "Weights were held to the oracle before; steps on a device are timed until it has made them.",
          ],
          head: ["backend", "", "threads", "ms a step", "times faster"],
          rows: all.flatMap(({ backend, rows }) =>
            rows.map(({ rule, bits, threads, time, faster }) => [
              `\`${backend}\`, ${WHERE[backend]}`,
              rule === "momentum" ? "`tf.train.momentum`" : bits === 32 ? "LARS" : "LARS8bit",
              ...[String(threads), spread(time), rule === "momentum" ? "1" : spread(faster)],
            ]),
          ),
        },
      ],
      raw: all,
    };
  }
}
