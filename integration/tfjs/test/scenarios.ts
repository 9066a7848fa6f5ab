/**
 * What is tested on every backend: functions of a TensorFlow.js that run in Node and in a page alike, and return
 * plain numbers to be judged by the tests.
 */
import * as tf from "@tensorflow/tfjs";
import { LARS, Parameter, presets } from "layerwise";
import type { LARSOptions } from "layerwise";
import { createLars } from "layerwise/tfjs";

export type ClassName = "LARS" | "LARS8bit" | "LARS32bit";

export const classes = createLars(tf);

/** Options that go different ways through a step. Layers of all sizes are quantised where bits are 8. */
export const cases: Readonly<Record<string, LARSOptions>> = {
  "the default rule, momentum, decay": { lr: 0.1, momentum: 0.9, weightDecay: 1e-2 },
  "8 bits": { lr: 0.1, momentum: 0.9, optimBits: 8, min8bitSize: 1 },
  "8 bits, skipZeros": {
    lr: 0.1,
    momentum: 0.9,
    optimBits: 8,
    min8bitSize: 1,
    skipZeros: true,
  },
  "the paper's rule with a schedule": presets.paper({ lr: (step: number) => 0.1 / (1 + step) }),
  "LARC, Nesterov": presets.apexLARC({
    lr: 0.1,
    momentum: 0.9,
    nesterov: true,
    weightDecay: 1e-3,
  }),
  "the joint norm of optax": presets.optax({ lr: 0.1, weightDecay: 1e-3 }),
  "scale-update, dampening": {
    lr: 0.1,
    momentum: 0.5,
    dampening: 0.3,
    trustRatio: "scale-update",
  },
  "percentile and global clipping": {
    lr: 0.1,
    momentum: 0.9,
    percentileClipping: 30,
    maxGradNorm: 5,
  },
  "no rule, no momentum": { lr: 0.1, trustRatio: "none" },
};

export const caseNames = Object.keys(cases);

const shapes = [[20, 30], [7], [513]];

/** Numbers in [−1, 1), the same on every machine. */
function random(size: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: size }, () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state / 1073741824 - 1;
  });
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

function gradient(size: number, step: number, layer: number): Float32Array {
  const values = random(size, 1000 + 31 * step + layer);
  return values.map((x) => (Math.abs(x) < 0.1 ? 0 : x * (1 + (step % 7)) * 10 ** (layer - 1)));
}

let count = 0;

/** Three variables of different scales, under names of their own. */
export function makeVariables(): tf.Variable[] {
  count++;
  return shapes.map((shape, layer) =>
    tf.tidy(() => {
      const values = random(sizeOf(shape), layer + 1).map((x) => x * 10 ** (1 - layer));
      return tf.variable(tf.tensor(values, shape), true, `problem${count}/layer${layer}`);
    }),
  );
}

type Optimizer = InstanceType<typeof classes.LARS>;

/** One step with the gradients of {@link gradient}. */
export function stepOn(optimizer: Optimizer, variables: readonly tf.Variable[], step: number) {
  const gradients: tf.NamedTensorMap = {};
  variables.forEach((variable, layer) => {
    gradients[variable.name] = tf.tensor(gradient(variable.size, step, layer), variable.shape);
  });
  optimizer.applyGradients(gradients);
  tf.dispose(gradients);
}

/** The largest difference from the core's own trajectory, relative to a layer's largest weight. */
export async function trajectory(name: string, steps: number): Promise<number> {
  const options = cases[name]!;
  const variables = makeVariables();
  const params = await Promise.all(
    variables.map(async (variable) => {
      const values = Float32Array.from(await variable.data());
      return new Parameter(values, { shape: variable.shape });
    }),
  );
  const expected = new LARS(params, options);
  const optimizer = new classes.LARS(options);
  for (let step = 0; step < steps; step++) {
    params.forEach((parameter, layer) => {
      parameter.grad = gradient(parameter.size, step, layer);
    });
    expected.step();
    stepOn(optimizer, variables, step);
  }
  let worst = 0;
  for (const [layer, variable] of variables.entries()) {
    const wanted = params[layer]!.data;
    const largest = wanted.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    (await variable.data()).forEach((x, index) => {
      worst = Math.max(worst, Math.abs(x - wanted[index]!) / largest);
    });
  }
  expected.dispose();
  optimizer.dispose();
  tf.dispose(variables);
  return worst;
}

/** Tensors held after so many steps on one small variable, less those after the first three. */
export function leakedTensors(className: ClassName, steps: number, insideTidy: boolean): number {
  const [first, ...variables] = makeVariables();
  tf.dispose([first!, variables.pop()!]);
  const optimizer = new classes[className]({
    ...{ lr: 0.01, momentum: 0.9, min8bitSize: 1, maxGradNorm: 1, percentileClipping: 90 },
  });
  const run = (from: number, to: number): void => {
    for (let step = from; step < to; step++) {
      if (insideTidy)
        tf.tidy(() => {
          stepOn(optimizer, variables, step);
        });
      else stepOn(optimizer, variables, step);
    }
  };
  run(0, 3);
  const before = tf.memory().numTensors;
  run(3, steps);
  const leaked = tf.memory().numTensors - before;
  optimizer.dispose();
  tf.dispose(variables);
  return leaked;
}

/** Where a backend keeps what it knows of its buffers: webgl, webgpu. */
interface Buffers {
  get(dataId: object): { readonly values?: unknown };
}

/** How often steps read back from the backend what is not on the host. */
export function readsWithinSteps(steps: number): number {
  const variables = makeVariables();
  const optimizer = new classes.LARS8bit({
    ...{ lr: 0.1, momentum: 0.9, min8bitSize: 1, maxGradNorm: 1, percentileClipping: 90 },
    // "throw" reads a flag, beside the steps.
    nonFinite: "skip",
  });
  const backend = tf.backend();
  const read = backend.read.bind(backend);
  const readSync = backend.readSync.bind(backend);
  const { texData, tensorMap } = backend as { texData?: Buffers; tensorMap?: Buffers };
  const isHere = (dataId: object): boolean =>
    ((texData ?? tensorMap)?.get(dataId).values ?? null) !== null;
  let reads = 0;
  backend.read = (dataId) => {
    if (!isHere(dataId)) reads++;
    return read(dataId);
  };
  backend.readSync = (dataId) => {
    if (!isHere(dataId)) reads++;
    return readSync(dataId);
  };
  for (let step = 0; step < steps; step++) stepOn(optimizer, variables, step);
  const found = reads;
  void variables[0]!.data();
  Object.assign(backend, { read, readSync });
  if (reads === found) throw new Error("the count does not see that a variable is read");
  optimizer.dispose();
  tf.dispose(variables);
  return found;
}

/** Bytes of state after one step of the dense model. */
export async function stateBytesOf(className: ClassName, train: Digits): Promise<number> {
  const model = denseModel();
  const optimizer = new classes[className]({ lr: 0.1, momentum: 0.9 });
  model.compile({ optimizer, loss: "categoricalCrossentropy" });
  const data = digitTensors(train);
  await model.trainOnBatch(data.x, data.y);
  const { stateBytes } = optimizer;
  optimizer.dispose();
  tf.dispose(data);
  model.dispose();
  return stateBytes;
}

/** Whether clones taken before each of some steps keep their values. */
export async function clonesKeepValues(): Promise<boolean> {
  const variables = makeVariables();
  const optimizer = new classes.LARS({ lr: 0.1, momentum: 0.9 });
  let kept = true;
  for (let step = 0; step < 4; step++) {
    const clones = variables.map((variable) => variable.clone());
    const before = await Promise.all(clones.map(async (clone) => [...(await clone.data())]));
    stepOn(optimizer, variables, step);
    for (const [index, clone] of clones.entries()) {
      const after = await clone.data();
      const current = await variables[index]!.data();
      kept &&= before[index]!.every((x, i) => x === after[i]);
      kept &&= current.some((x, i) => x !== before[index]![i]);
    }
    tf.dispose(clones);
  }
  optimizer.dispose();
  tf.dispose(variables);
  return kept;
}

/** Weights after a step with one gradient that is not finite: how many changed. */
export async function changedBySkippedStep(): Promise<number> {
  const variables = makeVariables();
  const optimizer = new classes.LARS8bit({
    lr: 0.1,
    momentum: 0.9,
    min8bitSize: 1,
    nonFinite: "skip",
  });
  stepOn(optimizer, variables, 0);
  const before = await Promise.all(variables.map(async (v) => Float32Array.from(await v.data())));
  const gradients: tf.NamedTensorMap = {};
  for (const [layer, { name, size, shape }] of variables.entries()) {
    const values = gradient(size, 1, layer);
    if (layer === 1) values[3] = NaN;
    gradients[name] = tf.tensor(values, shape);
  }
  optimizer.applyGradients(gradients);
  tf.dispose(gradients);
  let changed = 0;
  for (const [index, variable] of variables.entries()) {
    (await variable.data()).forEach((x, i) => (changed += x === before[index]![i] ? 0 : 1));
  }
  optimizer.dispose();
  tf.dispose(variables);
  return changed;
}

/** A model saved after two steps and loaded: the largest difference in weights after one more step of both. */
export async function differenceAfterReload(className: ClassName): Promise<number> {
  const options = { lr: 0.1, momentum: 0.9, min8bitSize: 1, percentileClipping: 50 };
  const model = tf.sequential({
    layers: [
      tf.layers.dense({ inputShape: [30], units: 20, activation: "relu" }),
      tf.layers.dense({ units: 3, activation: "softmax" }),
    ],
  });
  model.compile({ optimizer: new classes[className](options), loss: "categoricalCrossentropy" });
  const x = tf.tensor(random(300, 7), [10, 30]);
  const y = tf.oneHot(tf.tensor1d([0, 1, 2, 0, 1, 2, 0, 1, 2, 0], "int32"), 3);
  await model.trainOnBatch(x, y);
  await model.trainOnBatch(x, y);
  const saved: tf.io.ModelArtifacts[] = [];
  await model.save(
    tf.io.withSaveHandler((artifacts) => {
      saved.push(artifacts);
      return Promise.resolve({
        modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: "JSON" as const },
      });
    }),
    { includeOptimizer: true },
  );
  // Through JSON, as a file would.
  const { weightData, ...json } = saved[0]!;
  const artifacts = {
    ...(JSON.parse(JSON.stringify(json)) as object),
    weightData,
  } as tf.io.ModelArtifacts;
  const loaded = await tf.loadLayersModel(tf.io.fromMemory(artifacts));
  await model.trainOnBatch(x, y);
  await loaded.trainOnBatch(x, y);
  let worst = 0;
  for (const [index, weight] of model.getWeights().entries()) {
    const other = await loaded.getWeights()[index]!.data();
    (await weight.data()).forEach(
      (value, i) => (worst = Math.max(worst, Math.abs(value - other[i]!))),
    );
  }
  model.optimizer.dispose();
  loaded.optimizer.dispose();
  tf.dispose([x, y]);
  model.dispose();
  loaded.dispose();
  return worst;
}

/** Digits as bytes. */
export interface Digits {
  readonly images: readonly number[] | Uint8Array;
  readonly labels: readonly number[] | Uint8Array;
}

const seeded = (seed: number) => tf.initializers.glorotUniform({ seed });

const convolution = (seed: number) =>
  ({ kernelSize: 3, activation: "relu", kernelInitializer: seeded(seed) }) as const;

/** The dense model of TensorFlow.js' own example `mnist`. */
function denseModel(): tf.Sequential {
  return tf.sequential({
    layers: [
      tf.layers.flatten({ inputShape: [28, 28, 1] }),
      tf.layers.dense({ units: 42, activation: "relu", kernelInitializer: seeded(1) }),
      tf.layers.dense({ units: 10, activation: "softmax", kernelInitializer: seeded(2) }),
    ],
  });
}

/** Its convolutional model. */
function convolutionalModel(): tf.Sequential {
  return tf.sequential({
    layers: [
      tf.layers.conv2d({ inputShape: [28, 28, 1], filters: 16, ...convolution(1) }),
      tf.layers.maxPooling2d({ poolSize: 2, strides: 2 }),
      tf.layers.conv2d({ filters: 32, ...convolution(2) }),
      tf.layers.maxPooling2d({ poolSize: 2, strides: 2 }),
      tf.layers.conv2d({ filters: 32, ...convolution(3) }),
      tf.layers.flatten({}),
      tf.layers.dense({ units: 64, activation: "relu", kernelInitializer: seeded(4) }),
      tf.layers.dense({ units: 10, activation: "softmax", kernelInitializer: seeded(5) }),
    ],
  });
}

function digitTensors({ images, labels }: Digits): { x: tf.Tensor; y: tf.Tensor } {
  return tf.tidy(() => ({
    x: tf.tensor(
      Float32Array.from(images, (byte) => byte / 255),
      [labels.length, 28, 28, 1],
    ),
    y: tf.oneHot(tf.tensor1d([...labels], "int32"), 10).toFloat(),
  }));
}

/** Trains the dense model with compile and fit; returns the accuracy on digits that it has not seen. */
export async function accuracyOf(
  className: ClassName,
  train: Digits,
  test: Digits,
): Promise<number> {
  const model = denseModel();
  const optimizer = new classes[className]({ lr: 0.5, momentum: 0.9, excludeFromAdaptation: true });
  model.compile({ optimizer, loss: "categoricalCrossentropy", metrics: ["accuracy"] });
  const data = digitTensors(train);
  await model.fit(data.x, data.y, { batchSize: 100, epochs: 4, shuffle: false });
  const held = digitTensors(test);
  const [, accuracy] = model.evaluate(held.x, held.y, { batchSize: 250 }) as tf.Scalar[];
  const result = (await accuracy!.data())[0]!;
  optimizer.dispose();
  tf.dispose([data, held]);
  model.dispose();
  return result;
}

/** Trains the convolutional model on the same digits; returns the loss before each step. */
export async function convolutionalLosses(
  className: ClassName,
  train: Digits,
  steps: number,
): Promise<number[]> {
  const model = convolutionalModel();
  const optimizer = new classes[className]({ lr: 1, momentum: 0.9, excludeFromAdaptation: true });
  model.compile({ optimizer, loss: "categoricalCrossentropy" });
  const data = digitTensors(train);
  const losses: number[] = [];
  try {
    for (let step = 0; step < steps; step++) {
      losses.push((await model.trainOnBatch(data.x, data.y)) as number);
    }
  } finally {
    optimizer.dispose();
    tf.dispose(data);
    model.dispose();
  }
  return losses;
}
