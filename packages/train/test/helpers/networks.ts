/** Networks on small random data, and loss functions written the plain way to hold them against. */
import { defaultDevice, init } from "@jax-js/jax";
import type { Batch, ModelConfig, NetworkOptions } from "../../src/models/model.js";
import { elementCount, parametersOf } from "../../src/models/parameters.js";
import { Random } from "../../src/random.js";

export async function useWasm(): Promise<void> {
  await init("wasm");
  defaultDevice("wasm");
}

export interface Problem {
  options: NetworkOptions;
  batch: Batch;
  weights: Float32Array[];
  gradients: Float32Array[];
}

/** Random images or rows, labels and weights. The batch takes some of the samples, not in order. */
export function randomProblem(config: ModelConfig, batchRows: number): Problem {
  const random = new Random(7, 0);
  const inputs = config.featureShape.reduce((product, size) => product * size, 1);
  const count = batchRows + 3;
  const features = Uint8Array.from({ length: count * inputs }, () => 128 + random.uniform(128));
  const labels = Uint16Array.from({ length: count }, () =>
    Math.floor((random.uniform(1) + 1) * 0.5 * config.classes),
  );
  const rows = Int32Array.from({ length: batchRows - 1 }, (_, index) => count - 1 - index);
  const weights = parametersOf(config).map((spec) =>
    Float32Array.from({ length: elementCount(spec) }, () =>
      random.uniform(2 / Math.sqrt(spec.fanIn)),
    ),
  );
  return {
    options: { config, batchRows, normalisation: { mean: 128, scale: 1 / 64 } },
    batch: { samples: { features, labels }, rows },
    weights,
    gradients: weights.map((values) => new Float32Array(values.length).fill(NaN)),
  };
}

/** The values that a network sees, sample after sample. */
export function standardised({ options, batch }: Problem): Float32Array<ArrayBuffer> {
  const inputs = options.config.featureShape.reduce((product, size) => product * size, 1);
  const { mean, scale } = options.normalisation;
  const values = new Float32Array(batch.rows.length * inputs);
  batch.rows.forEach((row, index) => {
    for (let offset = 0; offset < inputs; offset++) {
      values[index * inputs + offset] =
        (batch.samples.features[row * inputs + offset]! - mean) * scale;
    }
  });
  return values;
}

/** ‖a − b‖ / ‖b‖. */
export function relativeDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let index = 0; index < expected.length; index++) {
    difference += (actual[index]! - expected[index]!) ** 2;
    norm += expected[index]! ** 2;
  }
  return Math.sqrt(difference / norm);
}
