/** ResNet-50's 161 layers against one layer of as many parameters. */
import { model } from "../models/model.js";
import { oneLayer } from "../problem.js";
import { Judge } from "../rival.js";
import type { Check, Rival } from "../rival.js";
import { allocatedParameters, LarsRivals } from "../rivals/layerwise.js";
import { ratioOf, spreadOf, timeInTurn } from "../timing.js";
import type { Samples, Spread } from "../timing.js";
import type { Effort } from "./in-new-process.js";

export interface SmallLayersRow {
  readonly bits: 8 | 32;
  readonly threads: number;
  /** Milliseconds a step. */
  readonly many: Spread;
  readonly one: Spread;
  readonly ratio: Spread;
  readonly samples: { readonly many: Samples; readonly one: Samples };
}

export interface SmallLayers {
  readonly checks: readonly Check[];
  readonly rows: readonly SmallLayersRow[];
}

export async function measure({ rounds }: Effort): Promise<SmallLayers> {
  const many = model("resnet50");
  const problems = [many, oneLayer(many.size)];
  const checks: Check[] = [];
  const rivals: Rival[] = [];
  for (const problem of problems) {
    const judge = new Judge(problem);
    const parameters = allocatedParameters(problem);
    for (const bits of [32, 8] as const) {
      for (const threads of [1, 2]) {
        const lars = new LarsRivals(problem, parameters, { where: "own memory", bits, threads });
        await lars.ready();
        const rival = lars.rival("clip-update");
        checks.push(await judge.check(rival));
        rivals.push(rival);
      }
    }
  }
  const samples = await timeInTurn(rivals, rounds);
  const half = rivals.length / 2;
  const rows = rivals.slice(0, half).map(({ bits, threads }, index): SmallLayersRow => {
    const [of161, of1] = [samples[index]!, samples[half + index]!];
    return {
      ...{ bits, threads, many: spreadOf(of161), one: spreadOf(of1), ratio: ratioOf(of161, of1) },
      samples: { many: of161, one: of1 },
    };
  });
  return { checks, rows };
}
