/** Between the samples of a data set and the arrays of a network. */
import type { Dataset } from "../data/dataset.js";
import type { Batch, Evaluation } from "./model.js";

/** Where standardised features go: one row a sample, wider than the features. */
interface FeatureRows {
  features: Float32Array;
  inputs: number;
  columns: number;
}

/** Writes the samples of a batch, each followed by a one; all else stays or becomes 0. */
export function fillStandardised(
  { samples, rows }: Batch,
  { mean, scale }: Pick<Dataset, "mean" | "scale">,
  { features, inputs, columns }: FeatureRows,
): void {
  rows.forEach((row, index) => {
    const from = row * inputs;
    const to = index * columns;
    for (let offset = 0; offset < inputs; offset++) {
      features[to + offset] = (samples.features[from + offset]! - mean) * scale;
    }
    features[to + inputs] = 1;
  });
  features.fill(0, rows.length * columns);
}

/** 1 at the class of each sample; rows beyond the batch are 0 and so add nothing to loss or gradient. */
export function oneHot(
  { samples, rows }: Batch,
  size: { rows: number; classes: number },
): Float32Array<ArrayBuffer> {
  const targets = new Float32Array(size.rows * size.classes);
  rows.forEach((row, index) => {
    targets[index * size.classes + samples.labels[row]!] = 1;
  });
  return targets;
}

/** Loss, right answers and predictions from logits [samples, classes]. The loss is summed in float64. */
export function scoreLogits(
  logits: Float32Array,
  { samples, rows }: Batch,
  classes: number,
): Evaluation {
  const predictions = new Uint16Array(rows.length);
  let loss = 0;
  let correct = 0;
  rows.forEach((row, index) => {
    const sample = logits.subarray(index * classes, (index + 1) * classes);
    const label = samples.labels[row]!;
    let largest = 0;
    for (let c = 1; c < classes; c++) if (sample[c]! > sample[largest]!) largest = c;
    let sum = 0;
    for (const logit of sample) sum += Math.exp(logit - sample[largest]!);
    loss += Math.log(sum) + sample[largest]! - sample[label]!;
    if (largest === label) correct++;
    predictions[index] = largest;
  });
  return { loss, correct, predictions };
}
