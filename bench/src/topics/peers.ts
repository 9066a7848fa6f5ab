import { inNewProcess } from "../measure/in-new-process.js";
import type { Effort } from "../measure/in-new-process.js";
import type { PeerTimes } from "../measure/peers.js";
import type { ProblemName } from "../measure/step-time.js";
import { hasPython } from "../peers/python.js";
import { spread } from "../results.js";
import type { Table } from "../results.js";

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

export async function* peers({ quick, rounds }: Effort) {
  if (!hasPython()) {
    console.log("  left out: no Python environment; `npm --prefix bench run peers` sets one up");
    return;
  }
  const raw: PeerTimes[] = [];
  for (const [problem, threads] of quick ? QUICK : TASKS) {
    console.log(`  ${problem}, ${threads} threads`);
    const task = { problem, threads, quick, rounds };
    raw.push(await inNewProcess<PeerTimes>("./peers.js", task));
    yield { title: "The library and its peers in Python", tables: raw.map(table), raw };
  }
}

function table({ problem, size, threads, versions, missing, rows, checks }: PeerTimes): Table {
  const absent = missing.map(({ name, reason }) => `${name} (${reason})`).join("; ");
  return {
    title: `${problem}: ${size.toLocaleString("en")} parameters, ${threads} ${threads === 1 ? "thread" : "threads"}`,
    notes: [
      `Milliseconds a step: median (p10–p90) of ${rows[0]?.samples.length ?? 0} rounds; the ratio to our 32-bit step is that within each round. All ${checks.length} rivals passed the check. ${versions.join(", ")}.`,
      ...(absent === "" ? [] : [`Not to be had: ${absent}.`]),
    ],
    head: ["", "computes", "bits", "ms a step", "× our LARS"],
    rows: rows.map(({ name, rule, bits, time, toOurs }) => [
      ...[name, rule, String(bits), spread(time), spread(toOurs)],
    ]),
  };
}
