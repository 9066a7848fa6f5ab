import { describeMachine, measuredAt } from "../machine.js";
import type { Machine } from "../machine.js";
import { inNewProcess } from "../measure/in-new-process.js";
import type { Effort } from "../measure/in-new-process.js";
import type { PeerTimes } from "../measure/peers.js";
import type { ProblemName } from "../measure/step-time.js";
import { hasPython } from "../peers/python.js";
import { spread } from "../results.js";
import type { Selection, Table } from "../results.js";

const TASKS: readonly [ProblemName, 1 | 2][] = [
  [25, 2],
  [25, 1],
  ["resnet50", 2],
  ["resnet50", 1],
  ["gpt2", 2],
  [12, 2],
  [14, 2],
  [16, 2],
  [18, 2],
  [20, 2],
  [22, 2],
  [24, 2],
  [26, 2],
  [27, 2],
];
const QUICK: readonly [ProblemName, 1 | 2][] = [[22, 2]];

export async function* peers({ quick, rounds }: Effort, { at, earlier }: Selection) {
  if (!hasPython()) {
    console.log("  left out: no Python environment; `npm --prefix bench run peers` sets one up");
    return;
  }
  const tasks = quick ? QUICK : TASKS;
  const measured = new Map((earlier as PeerTimes[]).map((times) => [keyOf(times), times]));
  for (const [problem, threads] of tasks) {
    if (at !== null && !at.includes(String(problem))) continue;
    console.log(`  ${problem}, ${threads} threads`);
    const machine = describeMachine();
    const task = { problem, threads, quick, rounds };
    const times = { ...(await inNewProcess<PeerTimes>("./peers.js", task)), machine };
    measured.set(keyOf(times), times);
    const raw = [...measured.values()].sort((a, b) => a.size - b.size || b.threads - a.threads);
    yield { title: "The library and its peers in Python", tables: raw.map(table), raw };
  }
}

function keyOf({ problem, threads }: PeerTimes): string {
  return `${problem} ${threads}`;
}

function table({ machine, ...times }: PeerTimes & { machine?: Machine }): Table {
  const { problem, size, threads, versions, missing, rows, checks } = times;
  const absent = missing.map(({ name, reason }) => `${name} (${reason})`).join("; ");
  return {
    title: `${problem}: ${size.toLocaleString("en")} parameters, ${threads} ${threads === 1 ? "thread" : "threads"}`,
    notes: [
      `Milliseconds a step: median (p10–p90) of ${rows[0]?.samples.length ?? 0} rounds; the ratio to our 32-bit step is that within each round. All ${checks.length} rivals passed the check. ${versions.join(", ")}.${measuredAt(machine)}`,
      ...(absent === "" ? [] : [`Not to be had: ${absent}.`]),
    ],
    head: ["", "computes", "bits", "ms a step", "× our LARS"],
    rows: rows.map(({ name, rule, bits, time, toOurs }) => [
      ...[name, rule, String(bits), spread(time), spread(toOurs)],
    ]),
  };
}
