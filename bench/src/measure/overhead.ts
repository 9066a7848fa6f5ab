/**
 * What a step costs beside its passes over the arrays: options, gradients' checks, jobs, decisions, the report.
 * Measured from outside, as the time of a step over as many layers of one element each, which is all of
 * that and next to no array.
 */
import { model } from "../models/model.js";
import { createProblem, oneLayer } from "../problem.js";
import type { Problem } from "../problem.js";
import { Judge } from "../rival.js";
import type { Rival } from "../rival.js";
import { allocatedParameters, LarsRivals } from "../rivals/layerwise.js";
import { spreadOf, timeInTurn } from "../timing.js";
import type { Samples, Spread } from "../timing.js";
import type { Effort } from "./in-new-process.js";

export interface OverheadRow {
  readonly problem: string;
  readonly layers: number;
  readonly bits: 8 | 32;
  /** Milliseconds a step. */
  readonly step: Spread;
  readonly overhead: Spread;
  readonly share: number;
  readonly samples: { readonly step: Samples; readonly overhead: Samples };
}

const THREADS = 2;

/** A single element goes 0.2 % of its size a step: float32 rounds that way by 6e-8 / 2e-3 of it, three times. */
const ONE_ELEMENT_TOLERANCE = 3e-4;

export async function measure({ rounds }: Effort): Promise<OverheadRow[]> {
  const rows: OverheadRow[] = [];
  for (const problem of [oneLayer(2 ** 20), oneLayer(2 ** 25), model("resnet50")]) {
    const judge = new Judge(problem);
    for (const bits of [32, 8] as const) {
      const pair: Rival[] = [];
      for (const each of [problem, sameLayersOfOneElement(problem)]) {
        const choice = { where: "own memory", bits, threads: THREADS } as const;
        const lars = new LarsRivals(each, allocatedParameters(each), choice);
        await lars.ready();
        const rival = lars.rival("clip-update");
        if (each === problem) await judge.check(rival);
        else await new Judge(each).check({ ...rival, tolerance: ONE_ELEMENT_TOLERANCE });
        pair.push(rival);
      }
      const [step, overhead] = (await timeInTurn(pair, rounds)) as [Samples, Samples];
      const [stepSpread, overheadSpread] = [spreadOf(step), spreadOf(overhead)];
      rows.push({
        ...{ problem: problem.name, layers: problem.layers.length, bits },
        ...{ step: stepSpread, overhead: overheadSpread },
        share: overheadSpread.median / stepSpread.median,
        samples: { step, overhead },
      });
    }
  }
  return rows;
}

function sameLayersOfOneElement({ name, layers }: Problem): Problem {
  return createProblem(
    `${name}, one element a layer`,
    layers.map((layer) => ({ name: layer.name, shape: [1] })),
  );
}
