/** What the gradient noise scale says about a batch size, for log and report. */
import type { OptimizerHistory } from "./run-history.js";
import { grouped } from "./text.js";

/** The noise scale over a run, in samples. It grows as training approaches a minimum. */
export interface NoiseSummary {
  readonly first: number;
  readonly median: number;
  readonly last: number;
}

/** null where no batch had two micro-batches, or no estimate was above 0. */
export function noiseSummary({ steps }: OptimizerHistory): NoiseSummary | null {
  const scales = steps.values.flatMap(({ noise }) => {
    const scale = noise?.scale ?? null;
    return scale !== null && scale > 0 ? [scale] : [];
  });
  const median = scales.toSorted((a, b) => a - b)[scales.length >> 1];
  if (median === undefined) return null;
  return { first: scales[0]!, median, last: scales.at(-1)! };
}

export function noiseSentence(name: string, noise: NoiseSummary, batchSize: number): string {
  const [first, median, last] = [noise.first, noise.median, noise.last].map((scale) =>
    grouped(Number(scale.toPrecision(2))),
  );
  const side = batchSize > noise.median ? "above" : "below";
  return `${name}: beyond about ${median!} samples a larger batch saves few steps (gradient noise scale, median of the run; ${first!} at first, ${last!} at last); the batch of ${grouped(batchSize)} is ${side} it`;
}
