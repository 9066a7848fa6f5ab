/** What happens around steps, on every backend: as scenarios.ts. */
import * as tf from "@tensorflow/tfjs";
import { NonFiniteGradientError } from "layerwise/tfjs";
import { classes, makeVariables, stepOn } from "./scenarios.js";
import type { ClassName } from "./scenarios.js";

/** 1 of the numbers are NaN. */
function broken(variable: tf.Variable): tf.Tensor {
  const values = new Float32Array(variable.size).fill(0.5);
  values[values.length - 1] = NaN;
  return tf.tensor(values, variable.shape);
}

const sumOfSquares = (variables: readonly tf.Variable[]): tf.Scalar =>
  tf.addN(variables.map((x) => tf.sum(tf.square(tf.cast(x, "float32")))));

/** Why a step is refused: the options of a variable that joins are those of the first, or of the last. */
export type Refusal = "rate" | "first options" | "last options" | "dtype" | "earlier NaN";

/**
 * Tensors that a refused call of `minimize` has left behind: of a first step, or a later one. An earlier NaN is one
 * that a device has found.
 */
export async function leftByRefused(
  className: ClassName,
  refusal: Refusal,
  isFirst: boolean,
): Promise<number> {
  let variables = makeVariables();
  const [joining] = makeVariables();
  const whole = tf.tidy(() => tf.variable(tf.zeros([3], "int32"), true, `${joining!.name}/whole`));
  const optimizer = new classes[className]({
    ...{ lr: 0.1, momentum: 0.9, min8bitSize: 1, percentileClipping: 50 },
    variableOptions: ({ name }) => (name === joining!.name ? { momentum: 7 } : null),
  });
  if (!isFirst) optimizer.minimize(() => sumOfSquares(variables), false, variables);
  if (refusal === "rate") optimizer.learningRate = () => NaN;
  if (refusal === "first options") variables = [joining!, ...variables];
  if (refusal === "last options") variables = [...variables, joining!];
  if (refusal === "dtype") variables = [...variables, whole];
  if (refusal === "earlier NaN") {
    const gradient = broken(variables[0]!);
    try {
      optimizer.applyGradients([{ name: variables[0]!.name, tensor: gradient }]);
    } catch {
      // At once, where the numbers are on the host.
      optimizer.learningRate = () => NaN;
    }
    gradient.dispose();
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  const before = tf.memory().numTensors;
  let isRefused = false;
  try {
    optimizer.minimize(() => sumOfSquares(variables), true, variables);
  } catch {
    isRefused = true;
  }
  const left = tf.memory().numTensors - before;
  optimizer.dispose();
  tf.dispose([variables, joining!, whole]);
  if (!isRefused) throw new Error("the step was made");
  return left;
}

/** What `settled` says after steps: the layer that it names, or "finite". */
async function told(optimizer: InstanceType<typeof classes.LARS>): Promise<string> {
  try {
    await optimizer.settled();
    return "finite";
  } catch (error) {
    if (error instanceof NonFiniteGradientError) return error.layer;
    throw error;
  }
}

/** What `settled` says, in turn: see the test. Names of layers are their places. */
export async function settledOnes(nonFinite: "throw" | "skip"): Promise<string[]> {
  const variables = makeVariables();
  const optimizer = new classes.LARS({ lr: 0.1, momentum: 0.9, nonFinite });
  const answers: string[] = [];
  const ask = async (): Promise<void> => {
    const answer = await told(optimizer);
    const place = variables.findIndex(({ name }) => name === answer);
    answers.push(place < 0 ? answer : String(place));
  };
  const breakAt = (place: number): void => {
    const gradients = variables.map((variable, index) => ({
      name: variable.name,
      tensor: index === place ? broken(variable) : tf.zerosLike(variable),
    }));
    try {
      optimizer.applyGradients(gradients);
    } catch (error) {
      if (!(error instanceof NonFiniteGradientError)) throw error;
      answers.push("thrown");
    }
    tf.dispose(gradients.map(({ tensor }) => tensor));
  };
  await ask();
  stepOn(optimizer, variables, 0);
  await ask();
  breakAt(1);
  await ask();
  await ask();
  stepOn(optimizer, variables, 1);
  await ask();
  // Found by the first of two, while another step breaks.
  breakAt(2);
  const asked = [ask(), ask()];
  await Promise.all(asked);
  breakAt(0);
  const first = ask();
  stepOn(optimizer, variables, 2);
  await first;
  await ask();
  optimizer.dispose();
  tf.dispose(variables);
  return answers;
}

/** Dispatches of one step of some layers, on webgl and webgpu; elsewhere, kernels of TensorFlow.js. */
export async function dispatchesOfStep(
  layers: number,
  options: Readonly<Record<string, unknown>>,
): Promise<number> {
  const shapes = Array.from({ length: layers }, (_, layer) => [layer + 3, 5]);
  const variables = makeVariables(shapes);
  const optimizer = new classes.LARS({ lr: 0.1, momentum: 0.9, ...options });
  stepOn(optimizer, variables, 0);
  stepOn(optimizer, variables, 1);
  const gradients = Object.fromEntries(variables.map((x) => [x.name, tf.onesLike(x)]));
  // The gradients' own dispatches are none of the step's.
  await Promise.all(Object.values(gradients).map((tensor) => tensor.data()));
  let count = 0;
  const counted = (object: object, method: string): (() => void) => {
    const target = object as Record<string, (...args: unknown[]) => unknown>;
    const own = Object.getOwnPropertyDescriptor(target, method);
    const original = target[method]!;
    target[method] = function (this: unknown, ...args) {
      count++;
      return original.apply(this, args);
    };
    return () => {
      if (own === undefined) Reflect.deleteProperty(target, method);
      else Object.defineProperty(target, method, own);
    };
  };
  const restore = ((): (() => void) => {
    switch (tf.getBackend()) {
      case "webgpu":
        return counted(GPUComputePassEncoder.prototype, "dispatchWorkgroups");
      case "webgl":
        return counted(tf.backend(), "runWebGLProgram");
      default:
        return counted(tf.engine(), "runKernelFunc");
    }
  })();
  try {
    optimizer.applyGradients(gradients);
  } finally {
    restore();
  }
  optimizer.dispose();
  tf.dispose([variables, gradients]);
  return count;
}

/**
 * Trains with some layers frozen, after loading in the same page: how many numbers of weights and of saved state differ
 * from those of an optimizer that was never saved.
 */
export async function differencesAfterPartialReload(className: ClassName): Promise<number> {
  const options = { lr: 0.1, momentum: 0.9, min8bitSize: 1, percentileClipping: 50 };
  const variables = makeVariables();
  const optimizer = new classes[className](options);
  stepOn(optimizer, variables, 0);
  stepOn(optimizer, variables, 1);
  const copies = await Promise.all(
    variables.map(async (variable) => {
      const values = Float32Array.from(await variable.data());
      return tf.tidy(() =>
        tf.variable(tf.tensor(values, variable.shape), true, `${variable.name}_1`),
      );
    }),
  );
  const reload = async (from: typeof optimizer): Promise<typeof optimizer> => {
    const { data, specs } = await tf.io.encodeWeights(await from.getWeights());
    const tensors = tf.io.decodeWeights(data, specs);
    const to = new classes[className](options);
    await to.setWeights(specs.map(({ name }) => ({ name, tensor: tensors[name]! })));
    tf.dispose(tensors);
    return to;
  };
  const tuned = await reload(optimizer);
  const oneStep = (on: typeof optimizer, list: readonly tf.Variable[], time: number): void => {
    tf.tidy(() => {
      on.applyGradients(
        list.map((variable) => ({
          name: variable.name,
          tensor: tf.tensor(
            Float32Array.from({ length: variable.size }, (_, i) => Math.cos(i + time)),
            variable.shape,
          ),
        })),
      );
    });
  };
  oneStep(optimizer, [variables[2]!], 2);
  oneStep(tuned, [copies[2]!], 2);
  const again = await reload(tuned);
  oneStep(optimizer, [variables[1]!, variables[2]!, variables[0]!], 3);
  oneStep(again, [copies[1]!, copies[2]!, copies[0]!], 3);
  const valuesOf = async (
    list: readonly tf.Variable[],
    of: typeof optimizer,
  ): Promise<number[]> => {
    const saved = (await of.getWeights()).map(({ tensor }) => tensor);
    const values = await Promise.all([...list, ...saved].map((tensor) => tensor.data()));
    return values.flatMap((some) => [...some]);
  };
  const [wanted, found] = [await valuesOf(variables, optimizer), await valuesOf(copies, again)];
  for (const one of [optimizer, tuned, again]) one.dispose();
  tf.dispose([variables, copies]);
  return wanted.filter((x, i) => x !== found[i]).length + Math.abs(wanted.length - found.length);
}

/** State and tensors held for variables that were disposed of, after some of them came and went. */
export async function heldForDisposed(): Promise<{
  bytes: number;
  names: number;
  tensors: number;
}> {
  const [kept, ...others] = makeVariables();
  const optimizer = new classes.LARS8bit({
    ...{ lr: 0.1, momentum: 0.9, min8bitSize: 1, percentileClipping: 50 },
  });
  stepOn(optimizer, [kept!], 0);
  const names = (await optimizer.getWeights()).length;
  const { stateBytes } = optimizer;
  await optimizer.settled();
  const tensors = tf.memory().numTensors - others.length;
  stepOn(optimizer, [others[0]!, kept!, others[1]!], 1);
  tf.dispose(others);
  for (let time = 0; time < 3; time++) {
    const some = makeVariables();
    stepOn(optimizer, [some[1]!, kept!], time);
    tf.dispose(some);
  }
  await optimizer.settled();
  const held = {
    bytes: optimizer.stateBytes - stateBytes,
    names: (await optimizer.getWeights()).length - names,
    tensors: tf.memory().numTensors - tensors,
  };
  optimizer.dispose();
  kept!.dispose();
  return held;
}
