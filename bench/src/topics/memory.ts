import { inNewProcess } from "../measure/in-new-process.js";
import type { Effort } from "../measure/in-new-process.js";
import type { MemoryTask, MemoryUse } from "../measure/memory.js";
import { number } from "../results.js";

export async function* memory({ quick }: Effort) {
  const size = quick ? 2 ** 22 : 2 ** 25;
  const raw: { task: MemoryTask; use: MemoryUse }[] = [];
  for (const where of ["own memory", "outside arrays"] as const) {
    for (const bits of [32, 8] as const) {
      const task: MemoryTask = { where, bits, threads: 2, size };
      raw.push({ task, use: await inNewProcess<MemoryUse>("./memory.js", task) });
    }
  }
  yield {
    title: "Memory",
    tables: [
      {
        title: `State, and the peak of a step, over ${size.toLocaleString("en")} parameters`,
        notes: [
          "State is what the optimizer holds. Added is by how much three steps raised the peak of a fresh process that held weights and gradients: state and everything temporary.",
        ],
        head: [
          "",
          "arrays",
          "state, bytes/parameter",
          "added, bytes/parameter",
          "peak before, MiB",
        ],
        rows: raw.map(({ task, use }) => [
          ...[task.bits === 32 ? "LARS" : "LARS8bit", task.where],
          ...[use.state.toFixed(4), use.added.toFixed(2), number(use.before / 2 ** 20)],
        ]),
      },
    ],
    raw,
  };
}
