import { inNewProcess } from "../measure/in-new-process.js";
import type { Effort } from "../measure/in-new-process.js";
import type { OverheadRow } from "../measure/overhead.js";
import { spread } from "../results.js";

export async function* overhead(effort: Effort) {
  const raw = await inNewProcess<OverheadRow[]>("./overhead.js", effort);
  yield {
    title: "What a step costs beside its arrays",
    tables: [
      {
        title: "The report and everything else but the passes, on 2 threads",
        notes: [
          "Overhead is the time of a step over as many layers of one element each: options, checks, jobs, decisions, the report. An upper bound of what the report costs.",
        ],
        head: ["", "layers", "", "step, ms", "overhead, ms", "share"],
        rows: raw.map(({ problem, layers, bits, step, overhead: rest, share }) => [
          ...[problem, String(layers), bits === 32 ? "LARS" : "LARS8bit"],
          ...[spread(step), spread(rest), `${(share * 100).toFixed(2)} %`],
        ]),
      },
    ],
    raw,
  };
}
