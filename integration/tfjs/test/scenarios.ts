/**
 * What is tested on every backend: functions of a TensorFlow.js that run in Node and in a page alike, and return
 * plain numbers to be judged by the tests.
 */
import * as tf from "@tensorflow/tfjs";
import { LARS, Parameter, presets } from "layerwise";
import type { LARSOptions } from "layerwise";
import { createDynamicMap, quantizeBlockwise } from "layerwise/quantization";
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
  "8 bits, Nesterov, clipping": {
    ...{ lr: 0.1, momentum: 0.9, nesterov: true, optimBits: 8, min8bitSize: 1 },
    ...{ percentileClipping: 30, trustRatio: { rule: "scale-gradient", coefficient: 0.1 } },
  },
  skipZeros: { lr: 0.1, momentum: 0.9, weightDecay: 1e-2, skipZeros: true },
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

/** More elements than a work group of any pass, more partial sums than one adds up, and no multiple of 4 among them. */
export const largeShapes = [[1100, 1000], [70_001]];

/**
 * Of all ranks, odd and even in their last two dimensions. WebGL's textures of the one before the last have rows of another
 * length where they come from the host than where a step has made them.
 */
export const oddShapes = [
  ...[[], [6], [7, 1], [1, 8], [5, 256], [4, 3, 3, 7]],
  ...[[3, 2, 6], [2, 3, 2, 5, 4], [100, 100, 2, 2], [515]],
];

/** More than one shader adds up or decides. */
export const manyShapes = Array.from({ length: 70 }, (_, layer) => [layer + 1, 3]);

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
  return values.map((x) =>
    Math.abs(x) < 0.1 ? 0 : x * (1 + (step % 7)) * 10 ** ((layer % 3) - 1),
  );
}

let count = 0;

/** Variables of different scales, under names of their own. */
export function makeVariables(of = shapes): tf.Variable[] {
  count++;
  return of.map((shape, layer) =>
    tf.tidy(() => {
      const values = random(sizeOf(shape), layer + 1).map((x) => x * 10 ** (1 - (layer % 3)));
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
export async function trajectory(
  name: string,
  steps: number,
  of = shapes,
  /** Backends to be changed to, one after another, every two steps. */
  backends: readonly string[] = [],
): Promise<number> {
  const options = cases[name]!;
  const variables = makeVariables(of);
  const params = await Promise.all(
    variables.map(async (variable) => {
      const values = Float32Array.from(await variable.data());
      return new Parameter(values, { shape: variable.shape });
    }),
  );
  const expected = new LARS(params, options);
  const optimizer = new classes.LARS(options);
  for (let step = 0; step < steps; step++) {
    const next = step % 2 === 0 ? backends[step / 2] : undefined;
    if (next !== undefined) await tf.setBackend(next);
    params.forEach((parameter, layer) => {
      parameter.grad = gradient(parameter.size, step, layer);
    });
    expected.step();
    stepOn(optimizer, variables, step);
  }
  const worst = await largestDifference(variables, params);
  expected.dispose();
  optimizer.dispose();
  tf.dispose(variables);
  return worst;
}

/**
 * The largest difference from the core after one step with gradients so many times as large, relative to a layer's largest
 * weight: squares of them leave float32's range.
 */
export async function differenceAt(factor: number): Promise<number> {
  const options = { lr: 0.1, trustRatio: { rule: "scale-gradient", coefficient: 1 } } as const;
  const variables = makeVariables();
  const optimizer = new classes.LARS(options);
  const params: Parameter[] = [];
  const gradients: tf.NamedTensorMap = {};
  for (const [layer, variable] of variables.entries()) {
    const parameter = new Parameter(Float32Array.from(await variable.data()));
    parameter.grad = gradient(variable.size, 0, layer).map((x) => x * factor);
    gradients[variable.name] = tf.tensor(parameter.grad, variable.shape);
    params.push(parameter);
  }
  const expected = new LARS(params, options);
  expected.step();
  optimizer.applyGradients(gradients);
  const worst = await largestDifference(variables, params);
  expected.dispose();
  optimizer.dispose();
  tf.dispose(variables);
  tf.dispose(gradients);
  return worst;
}

/** Relative to a layer's largest weight. */
async function largestDifference(
  variables: readonly tf.Variable[],
  params: readonly Parameter[],
): Promise<number> {
  let worst = 0;
  for (const [layer, variable] of variables.entries()) {
    const wanted = params[layer]!.data;
    const largest = wanted.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    (await variable.data()).forEach((x, index) => {
      const difference = Math.abs(x - wanted[index]!) / largest;
      if (!(difference <= worst)) worst = difference;
    });
  }
  return worst;
}

/** Programs that WebGL runs for one step. */
export function programsOfStep(className: ClassName): number {
  const variables = makeVariables();
  const optimizer = new classes[className]({ lr: 0.1, momentum: 0.9, min8bitSize: 1 });
  stepOn(optimizer, variables, 0);
  const backend = tf.backend() as unknown as { runWebGLProgram: (...args: unknown[]) => unknown };
  const runWebGLProgram = backend.runWebGLProgram.bind(backend);
  let programs = 0;
  backend.runWebGLProgram = (...args) => {
    programs++;
    return runWebGLProgram(...args);
  };
  stepOn(optimizer, variables, 1);
  Object.assign(backend, { runWebGLProgram });
  optimizer.dispose();
  tf.dispose(variables);
  return programs;
}

/** The same, with two steps on each of some backends. */
export function trajectoryAcross(name: string, backends: readonly string[]): Promise<number> {
  return trajectory(name, 2 * backends.length, shapes, backends);
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

/** Bytes that webgpu has allocated after so many steps, less those after the first ten. */
export function allocatedBytes(className: ClassName, steps: number): number {
  const variables = makeVariables();
  const optimizer = new classes[className]({ lr: 0.01, momentum: 0.9, min8bitSize: 1 });
  const allocated = () => (tf.memory() as unknown as GPUMemory).numBytesAllocatedInGPU;
  for (let step = 0; step < 10; step++) stepOn(optimizer, variables, step);
  const before = allocated();
  for (let step = 10; step < steps; step++) stepOn(optimizer, variables, step);
  const grown = allocated() - before;
  optimizer.dispose();
  tf.dispose(variables);
  return grown;
}

/** What webgpu adds to `tf.memory()`. */
interface GPUMemory {
  readonly numBytesAllocatedInGPU: number;
}

/** How many variables have the same buffer on webgpu after some steps. */
export function sameBuffers(steps: number): number {
  const variables = makeVariables();
  const optimizer = new classes.LARS({ lr: 0.1, momentum: 0.9 });
  const { tensorMap } = tf.backend() as unknown as { tensorMap: Buffers };
  stepOn(optimizer, variables, 0);
  const before = variables.map(({ dataId }) => tensorMap.get(dataId).resource);
  for (let step = 1; step < steps; step++) stepOn(optimizer, variables, step);
  const same = variables.filter(({ dataId }, i) => tensorMap.get(dataId).resource === before[i]);
  optimizer.dispose();
  tf.dispose(variables);
  return same.length;
}

/** Of the codes that a first step stores, how many are not the core's: on midpoints and beside them too. */
export async function differentCodes(): Promise<number> {
  const codebook = createDynamicMap();
  const middles = codebook.map((value, code) => Math.fround(value + (codebook[code + 1] ?? 1)) / 2);
  const nearby = [...middles].flatMap((x) => [x, x * (1 + 2 ** -23), x * (1 - 2 ** -23)]);
  const others = random(1200, 5).map((x, i) => x * 10 ** -(i % 8));
  const values = Float32Array.of(...nearby, ...others);
  // Divided by 1, values are what they were on any device.
  for (let block = 0; block < values.length; block += 256) values[block] = 1;
  const variable = tf.variable(tf.zeros([values.length]), true, `codes${count++}`);
  const optimizer = new classes.LARS8bit({ lr: 0.1, momentum: 0.9, min8bitSize: 1 });
  const gradient = tf.tensor(values);
  optimizer.applyGradients({ [variable.name]: gradient });
  const saved = await optimizer.getWeights();
  const packed = await saved.find(({ name }) => name.endsWith("lars_codes"))!.tensor.data();
  const codes = new Uint8Array(Int32Array.from(packed).buffer);
  const different = quantizeBlockwise(values).codes.filter((code, i) => code !== codes[i]).length;
  optimizer.dispose();
  tf.dispose([variable, gradient]);
  return different;
}

/** Whether a variable whose values are being read when a step is made has its new values afterwards. */
export async function isCurrentAfterReading(): Promise<boolean> {
  const variables = makeVariables();
  const optimizer = new classes.LARS({ lr: 0.1, momentum: 0.9 });
  stepOn(optimizer, variables, 0);
  const clone = variables[0]!.clone();
  const before = [...(await clone.data())];
  clone.dispose();
  stepOn(optimizer, variables, 1);
  const state = optimizer.getWeights();
  // TensorFlow.js may refuse to end such a reading, here and with optimizers of its own.
  const reading = variables[0]!.data().catch(() => null);
  stepOn(optimizer, variables, 2);
  await reading;
  const saved = await state;
  const after = await variables[0]!.data();
  optimizer.dispose();
  tf.dispose(variables);
  return saved.length > 0 && after.some((x, i) => x !== before[i]);
}

/** Where a backend keeps what it knows of its buffers: webgl, webgpu. */
interface Buffers {
  get(dataId: object): { readonly values?: unknown; readonly resource?: unknown };
}

/** Workers that a first step on wasm starts in TensorFlow.js' own memory. */
export function workersInHeap(): number {
  const { wasm } = tf.backend() as unknown as { wasm: { wasmMemory?: WebAssembly.Memory } };
  const post = Object.getOwnPropertyDescriptor(Worker.prototype, "postMessage")!;
  let workers = 0;
  Worker.prototype.postMessage = function (this: Worker, message: unknown, ...rest: never[]) {
    if ((message as { memory?: unknown }).memory === wasm.wasmMemory) workers++;
    (post.value as Worker["postMessage"]).call(this, message, ...rest);
  };
  const variables = makeVariables(largeShapes);
  const optimizer = new classes.LARS({ lr: 0.1, momentum: 0.9 });
  stepOn(optimizer, variables, 0);
  Object.defineProperty(Worker.prototype, "postMessage", post);
  optimizer.dispose();
  tf.dispose(variables);
  return workers;
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

/** Numbers of weights and state that a step with one gradient that is not finite has changed. */
export async function changedBySkippedStep(
  className: ClassName,
  bad: "NaN" | "Infinity" | "-Infinity",
): Promise<number> {
  const variables = makeVariables();
  const optimizer = new classes[className]({
    ...{ lr: 0.1, momentum: 0.9, min8bitSize: 1, percentileClipping: 90, nonFinite: "skip" },
  });
  const all = async (): Promise<number[]> => {
    const saved = await optimizer.getWeights();
    // Skipped steps count for schedules on a device.
    const state = saved.filter(({ name }) => name !== "iter").map(({ tensor }) => tensor);
    const values = await Promise.all([...variables, ...state].map((tensor) => tensor.data()));
    return values.flatMap((some) => [...some]);
  };
  stepOn(optimizer, variables, 0);
  const before = await all();
  const gradients: tf.NamedTensorMap = {};
  for (const [layer, { name, size, shape }] of variables.entries()) {
    const values = gradient(size, 1, layer);
    if (layer === 1) values[3] = Number(bad);
    gradients[name] = tf.tensor(values, shape);
  }
  optimizer.applyGradients(gradients);
  tf.dispose(gradients);
  const after = await all();
  optimizer.dispose();
  tf.dispose(variables);
  return after.filter((x, i) => x !== before[i]).length + Math.abs(after.length - before.length);
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

const convolution = (filters: number, seed: number) =>
  ({ filters, kernelSize: 5, activation: "relu", kernelInitializer: seeded(seed) }) as const;

/** The convolutional model of its tutorial on handwritten digits. */
function convolutionalModel(): tf.Sequential {
  return tf.sequential({
    layers: [
      tf.layers.conv2d({ inputShape: [28, 28, 1], ...convolution(8, 1) }),
      tf.layers.maxPooling2d({ poolSize: 2, strides: 2 }),
      tf.layers.conv2d(convolution(16, 2)),
      tf.layers.maxPooling2d({ poolSize: 2, strides: 2 }),
      tf.layers.flatten({}),
      tf.layers.dense({ units: 10, activation: "softmax", kernelInitializer: seeded(3) }),
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

/** How a model is trained: batches in the order of the digits, and a rate that falls to 0 on a line. */
export interface Training {
  readonly model: "dense" | "convolutional";
  /** The rate of the first step. */
  readonly lr: number;
  readonly batchSize: number;
  readonly epochs: number;
}

const BIAS_RATE = 0.02;

/** Trains with compile and fit; returns the accuracy on digits that the model has not seen. */
export async function accuracyOf(
  className: ClassName,
  { model: kind, lr, ...fit }: Training,
  { train, test }: { train: Digits; test: Digits },
): Promise<number> {
  const model = kind === "dense" ? denseModel() : convolutionalModel();
  const steps = fit.epochs * Math.ceil(train.labels.length / fit.batchSize);
  const optimizer = new classes[className]({
    ...{ lr: (step: number) => lr * (1 - step / steps), momentum: 0.9, min8bitSize: 1024 },
    excludeFromAdaptation: true,
    // Without a trust ratio, the rate itself is what a bias moves by.
    variableOptions: [{ name: /bias/, lr: BIAS_RATE }],
  });
  model.compile({ optimizer, loss: "categoricalCrossentropy", metrics: ["accuracy"] });
  const data = digitTensors(train);
  await model.fit(data.x, data.y, { ...fit, shuffle: false });
  const held = digitTensors(test);
  const [, accuracy] = model.evaluate(held.x, held.y, { batchSize: 250 }) as tf.Scalar[];
  const result = (await accuracy!.data())[0]!;
  optimizer.dispose();
  tf.dispose([data, held]);
  model.dispose();
  return result;
}

/** One step of the convolutional model, where a backend may refuse it. */
export async function convolutionalStep(train: Digits): Promise<void> {
  const model = convolutionalModel();
  const optimizer = new classes.LARS({ lr: 1, momentum: 0.9 });
  model.compile({ optimizer, loss: "categoricalCrossentropy" });
  const data = digitTensors(train);
  try {
    await model.trainOnBatch(data.x, data.y);
  } finally {
    optimizer.dispose();
    tf.dispose(data);
    model.dispose();
  }
}
