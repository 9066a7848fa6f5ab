import { describeMachine, measuredAt } from "../machine.js";
import type { Machine } from "../machine.js";
import { inNewProcess } from "../measure/in-new-process.js";
import type { Effort } from "../measure/in-new-process.js";
import type { ProblemName, StepTimeRow, StepTimes } from "../measure/step-time.js";
import { number, spread } from "../results.js";
import type { Selection, Table } from "../results.js";

/** What is asked for most first: a run that is ended early leaves that. */
const PROBLEMS: readonly ProblemName[] = [
  25,
  "resnet50",
  "gpt2",
  12,
  14,
  16,
  18,
  20,
  22,
  24,
  26,
  27,
];
const QUICK: readonly ProblemName[] = [12, 18, 22, "resnet50"];

export async function* stepTime({ quick, rounds }: Effort, { at, earlier }: Selection) {
  const measured = new Map((earlier as StepTimes[]).map((times) => [times.problem, times]));
  for (const problem of quick ? QUICK : PROBLEMS) {
    if (at !== null && !at.includes(String(problem))) continue;
    console.log(`  ${problem}`);
    const machine = describeMachine();
    const task = {
      problem,
      quick,
      rounds: typeof problem === "number" && problem < 26 ? rounds : Math.min(rounds, 7),
    };
    const times = { ...(await inNewProcess<StepTimes>("./step-time.js", task)), machine };
    measured.set(times.problem, times);
    const all = [...measured.values()].sort((a, b) => a.size - b.size);
    yield {
      title: "The time of a step",
      tables: [summary(all), ...all.map(details)],
      raw: all,
    };
  }
}

/** Rows of the overview: who, and what picks the row out of the details. */
const OVERVIEW: readonly { title: string; is: (row: StepTimeRow) => boolean }[] = [
  ours("LARS", "layerwise, own memory", 32, 2),
  ours("LARS", "layerwise, own memory", 32, 1),
  ours("LARS8bit", "layerwise, own memory", 8, 2),
  ours("LARS8bit", "layerwise, own memory", 8, 1),
  ours("LARS, outside arrays", "layerwise, outside arrays", 32, 2),
  ours("LARS8bit, outside arrays", "layerwise, outside arrays", 8, 2),
  ours("LARS, `reference`", "layerwise `reference`", 32, 1),
  named("plain JavaScript loop", "plain JavaScript loop", 1),
  named("jax-js, jit", "jax-js, jit", 1),
  named("TensorFlow.js momentum, wasm", "TensorFlow.js momentum, wasm", 1),
  named("TensorFlow.js momentum, cpu", "TensorFlow.js momentum, cpu", 1),
  named("SIMD copy of 32 bytes a parameter", "SIMD copy", 2),
  named("SIMD copy of 32 bytes a parameter", "SIMD copy", 1),
];

function ours(title: string, name: string, bits: 8 | 32, threads: number) {
  return {
    title: `${title}, ${threads} ${threads === 1 ? "thread" : "threads"}`,
    is: (row: StepTimeRow): boolean =>
      row.name === name &&
      row.bits === bits &&
      row.threads === threads &&
      row.rule === "clip-update",
  };
}

function named(title: string, name: string, threads: number) {
  return {
    title: `${title}, ${threads} ${threads === 1 ? "thread" : "threads"}`,
    is: (row: StepTimeRow): boolean => row.name === name && row.threads === threads,
  };
}

function summary(all: readonly StepTimes[]): Table {
  return {
    title: "Overview: milliseconds a step",
    notes: [
      "Medians, rule `clip-update` where the rival has one. A dash: left out, too slow or too large.",
    ],
    head: ["", ...all.map(({ problem }) => problem)],
    rows: OVERVIEW.map(({ title, is }) => [
      title,
      ...all.map(({ rows }) => {
        const row = rows.find(is);
        return row === undefined ? "–" : number(row.time.median);
      }),
    ]),
  };
}

function details({ machine, ...times }: StepTimes & { machine?: Machine }): Table {
  const { problem, layers, size, rows, checks } = times;
  const worst = Math.max(
    ...checks.filter(({ tolerance }) => tolerance < 1e-3).map(({ error }) => error),
  );
  return {
    title: `${problem}: ${size.toLocaleString("en")} parameters in ${layers} ${layers === 1 ? "layer" : "layers"}`,
    notes: [
      `Milliseconds a step: median (p10–p90) of ${rows[0]?.samples.length ?? 0} rounds. All ${checks.length} rivals passed the check; the largest error with 32 bits was ${worst.toExponential(1)}.${measuredAt(machine)}`,
    ],
    head: ["", "rule", "bits", "threads", "ms a step", "GB/s", "bytes/parameter", "× copy"],
    rows: rows.map(({ name, rule, bits, threads, time, toCopy, bytesPerParameter: bytes }) => [
      ...[name, rule, String(bits), String(threads), spread(time)],
      number((bytes * size) / time.median / 1e6),
      ...[number(bytes), spread(toCopy)],
    ]),
  };
}
