/**
 * How long LeNet takes for the gradients of one micro-batch on one thread: the median of 30, in
 * milliseconds. Run after a build: node packages/train/scripts/time-lenet.mjs [samples]
 */
import { performance } from "node:perf_hooks";
import { defaultDevice, init } from "@jax-js/jax";
import { enableFusedMultiplyAdd } from "../dist/gradients/fused-multiply-add.js";
import { createLenet } from "../dist/models/lenet.js";
import { elementCount, parametersOf } from "../dist/models/parameters.js";
import { Random } from "../dist/random.js";

const WARM_UP = 5;
const RUNS = 30;
const samples = Number(process.argv[2] ?? 256);

// As the trainer does.
enableFusedMultiplyAdd();
await init("wasm");
defaultDevice("wasm");
const config = {
  model: /** @type {const} */ ("lenet"),
  hidden: [],
  featureShape: [28, 28],
  classes: 10,
};
const random = new Random(1, 0);
const features = Uint8Array.from({ length: samples * 784 }, () => 128 + random.uniform(127));
const labels = Uint16Array.from({ length: samples }, (_, index) => index % 10);
const weights = parametersOf(config).map((spec) =>
  Float32Array.from({ length: elementCount(spec) }, () =>
    random.uniform(1 / Math.sqrt(spec.fanIn)),
  ),
);
const gradients = weights.map((values) => new Float32Array(values.length));
const batch = { samples: { features, labels }, rows: Int32Array.from(labels.keys()) };
const network = createLenet({
  config,
  batchRows: samples,
  normalisation: { mean: 128, scale: 1 / 64 },
});
network.setWeights(weights);

const times = Array.from({ length: WARM_UP + RUNS }, () => {
  const begin = performance.now();
  network.gradients(batch, gradients);
  return performance.now() - begin;
})
  .slice(WARM_UP)
  .sort((a, b) => a - b);
const format = (/** @type {number} */ time) => time.toFixed(1);
console.log(
  `lenet, ${samples} samples: median ${format(times[RUNS / 2] ?? NaN)} ms, fastest ${format(times[0] ?? NaN)} ms`,
);
