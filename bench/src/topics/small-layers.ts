import { inNewProcess } from "../measure/in-new-process.js";
import type { Effort } from "../measure/in-new-process.js";
import type { SmallLayers } from "../measure/small-layers.js";
import { spread } from "../results.js";

export async function* smallLayers(effort: Effort) {
  const raw = await inNewProcess<SmallLayers>("./small-layers.js", effort);
  yield {
    title: "Many small layers",
    tables: [
      {
        title: "ResNet-50's 161 layers against one layer of 25,557,032 parameters",
        notes: [
          "Milliseconds a step, rule `clip-update`: median (p10–p90). The ratio is that within each round.",
        ],
        head: ["", "threads", "161 layers", "1 layer", "ratio"],
        rows: raw.rows.map(({ bits, threads, many, one, ratio }) => [
          ...[bits === 32 ? "LARS" : "LARS8bit", String(threads)],
          ...[spread(many), spread(one), spread(ratio)],
        ]),
      },
    ],
    raw,
  };
}
