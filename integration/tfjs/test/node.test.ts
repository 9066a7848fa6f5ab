/** The scenarios on the backends that run in Node, and what needs no other backend to be tested on. */
import * as tf from "@tensorflow/tfjs";
import { MathBackendCPU } from "@tensorflow/tfjs-backend-cpu";
import { NonFiniteGradientError } from "layerwise/tfjs";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { trajectories } from "../../../packages/layerwise/test/helpers/vectors.js";
import { digits } from "./digits.js";
import { use } from "./node-backends.js";
import {
  accuracyOf,
  caseNames,
  changedBySkippedStep,
  classes,
  clonesKeepValues,
  convolutionalStep,
  differenceAfterReload,
  differentCodes,
  leakedTensors,
  makeVariables,
  readsWithinSteps,
  stateBytesOf,
  stepOn,
  trajectory,
} from "./scenarios.js";
import type { ClassName } from "./scenarios.js";

const classNames = ["LARS", "LARS8bit", "LARS32bit"] as const satisfies readonly ClassName[];

describe.each(["cpu", "wasm", "plain"])("backend %s", (backend) => {
  beforeAll(() => use(backend));

  it.each(caseNames)(
    "follows the core within 1e-5 of a layer's largest weight over 50 steps: %s",
    async (name) => {
      expect(await trajectory(name, 50)).toBeLessThan(1e-5);
    },
  );

  it.each(classNames)(
    "%s holds no more tensors after many steps, outside of tidy and inside",
    (name) => {
      const steps = backend === "plain" ? 100 : 1000;
      expect(leakedTensors(name, steps, false)).toBe(0);
      expect(leakedTensors(name, steps, true)).toBe(0);
    },
  );

  it("leaves clones as they were", async () => {
    expect(await clonesKeepValues()).toBe(true);
  });

  it.each([
    ["LARS", "NaN"],
    ["LARS8bit", "Infinity"],
    ["LARS32bit", "-Infinity"],
  ] as const)("%s writes nothing in a step with %s in a gradient", async (name, bad) => {
    expect(await changedBySkippedStep(name, bad)).toBe(0);
  });

  it("stores the core's codes, on midpoints and beside them", async () => {
    expect(await differentCodes()).toBe(0);
  });

  // Of `plain`, TensorFlow.js' own operations read: they are those of cpu.
  if (backend !== "plain") {
    it("reads nothing through the backend within a step", () => {
      expect(readsWithinSteps(5)).toBe(0);
    });
  }

  it.each(classNames)(
    "%s: a saved and loaded model makes the same next step to the bit",
    async (name) => {
      expect(await differenceAfterReload(name)).toBe(0);
    },
  );

  it.each(trajectories.filter(({ steps }) => steps > 0))(
    "reproduces $title within 1e-5",
    async ({ options, initial, gradients, weights, steps }) => {
      const variables = initial.map((values) => tf.variable(tf.tensor(values.slice())));
      const optimizer = new classes.LARS(options);
      let worst = 0;
      for (let step = 0; step < steps; step++) {
        const list = variables.map(({ name }, layer) => ({
          name,
          tensor: tf.tensor(gradients[step]![layer]!.slice()),
        }));
        optimizer.applyGradients(list);
        tf.dispose(list.map(({ tensor }) => tensor));
      }
      for (const [layer, variable] of variables.entries()) {
        const expected = weights[steps - 1]![layer]!;
        const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-30);
        (await variable.data()).forEach((x, index) => {
          worst = Math.max(worst, Math.abs(x - expected[index]!) / largest);
        });
      }
      expect(worst).toBeLessThan(1e-5);
      optimizer.dispose();
      tf.dispose(variables);
    },
  );

  // Webgl trains by tensor operations, in the browser.
  const trained = backend === "plain" ? [] : classNames;
  it.each(trained)(
    "%s trains the dense model of tfjs-examples/mnist to 85 % in 80 steps",
    async (name) => {
      const training = { model: "dense", lr: 1, batchSize: 100, epochs: 4 } as const;
      const data = { train: digits("train", 2000), test: digits("t10k", 500) };
      const accuracy = await accuracyOf(name, training, data);
      console.log(`${backend} ${name}: ${(100 * accuracy).toFixed(1)} %`);
      expect(accuracy).toBeGreaterThan(0.85);
    },
  );
});

describe("a real optimizer of TensorFlow.js", () => {
  beforeAll(() => use("cpu"));
  const optimizers: InstanceType<typeof classes.LARS>[] = [];
  const made = (options: ConstructorParameters<typeof classes.LARS>[0]) => {
    const optimizer = new classes.LARS(options);
    optimizers.push(optimizer);
    return optimizer;
  };
  afterEach(() => {
    for (const optimizer of optimizers.splice(0)) optimizer.dispose();
  });

  it("is an instance of tf.Optimizer, and made once for a TensorFlow.js", () => {
    const optimizer = made({ lr: 0.1 });
    expect(optimizer).toBeInstanceOf(tf.Optimizer);
    expect(Object.getPrototypeOf(classes.LARS)).toBe(tf.Optimizer);
    for (const name of classNames) {
      const one = new classes[name]({ lr: 0.1 });
      expect([one.getClassName(), one.constructor.name, classes[name].className]).toEqual([
        ...[name, name, name],
      ]);
      one.dispose();
    }
  });

  it("minimizes with a varList and without", () => {
    const a = tf.variable(tf.scalar(3));
    const b = tf.variable(tf.scalar(3));
    const loss = () => tf.add<tf.Scalar>(tf.square(a), tf.square(b));
    made({ lr: 0.1, trustRatio: "none" }).minimize(loss, false, [a]);
    expect([a.dataSync()[0], b.dataSync()[0]]).toEqual([Math.fround(2.4), 3]);
    const optimizer = made({ lr: 0.1, trustRatio: "none" });
    const cost = optimizer.minimize(loss, true);
    expect(cost!.dataSync()[0]).toBeCloseTo(2.4 ** 2 + 9, 5);
    expect(b.dataSync()[0]).toBe(Math.fround(2.4));
    expect(optimizer.lastStep!.layers).toHaveLength(2);
    tf.dispose([a, b, cost!]);
  });

  it("leaves variables without a gradient alone, in lists and maps", () => {
    const variables = makeVariables();
    const before = variables.map((variable) => [...variable.dataSync()]);
    const optimizer = made({ lr: 0.1, momentum: 0.9 });
    const gradient = tf.onesLike(variables[1]!);
    optimizer.applyGradients([
      { name: variables[0]!.name, tensor: null as unknown as tf.Tensor },
      { name: variables[1]!.name, tensor: gradient },
    ]);
    optimizer.applyGradients({
      [variables[1]!.name]: gradient,
      [variables[2]!.name]: undefined as unknown as tf.Tensor,
    });
    expect([...variables[0]!.dataSync()]).toEqual(before[0]);
    expect([...variables[1]!.dataSync()]).not.toEqual(before[1]);
    expect([...variables[2]!.dataSync()]).toEqual(before[2]);
    expect(optimizer.iterations).toBe(2);
    tf.dispose([variables, gradient]);
  });

  it("takes options by pattern and by function, over the exclusion", () => {
    const run = (options: Partial<ConstructorParameters<typeof classes.LARS>[0]>) => {
      const variables = makeVariables();
      const optimizer = made({ lr: 0.1, weightDecay: 0.1, maxUnorm: 1e-3, ...options });
      stepOn(optimizer, variables, 0);
      tf.dispose(variables);
      return optimizer.lastStep!.layers.map(({ trustRatio }) => trustRatio);
    };
    const plain = run({});
    expect(plain.every((ratio) => ratio < 1)).toBe(true);
    expect(run({ excludeFromAdaptation: true })).toEqual([plain[0], 1, 1]);
    const byPattern = run({ variableOptions: [{ name: /layer0$/, trustRatio: "none" }] });
    expect(byPattern).toEqual([1, plain[1], plain[2]]);
    const byFunction = run({
      excludeFromAdaptation: true,
      variableOptions: ({ name }) =>
        name.endsWith("layer1")
          ? { trustRatio: { rule: "clip-update", maxUnorm: 0 }, lr: 0 }
          : null,
    });
    expect(byFunction).toEqual([plain[0], 1, 1]);
  });

  it("takes schedules, and a rate set between steps", () => {
    const variables = makeVariables();
    const optimizer = made({ lr: (step: number) => 0.1 / (1 + step) });
    stepOn(optimizer, variables, 0);
    expect(optimizer.lastStep!.lr).toBe(0.1);
    stepOn(optimizer, variables, 1);
    expect(optimizer.lastStep!.lr).toBe(0.05);
    optimizer.learningRate = 0.3;
    stepOn(optimizer, variables, 2);
    expect(optimizer.lastStep!.lr).toBe(0.3);
    expect(() => (optimizer.learningRate = -1)).toThrow(/^lr: .*-1/);
    optimizer.setLearningRate(0.2);
    expect(optimizer.learningRate).toBe(0.2);
    stepOn(optimizer, variables, 3);
    expect(optimizer.lastStep!.lr).toBe(0.2);
    optimizer.setLearningRate((step) => 1 / step);
    stepOn(optimizer, variables, 4);
    expect(optimizer.lastStep!.lr).toBe(0.25);
    expect(() => {
      optimizer.setLearningRate(NaN);
    }).toThrow(/^lr: .*NaN/);
    expect(optimizer.lastStep!.lr).toBe(0.25);
    tf.dispose(variables);
  });

  it("goes through getConfig and fromConfig, as JSON too; functions have to be set again", () => {
    const optimizer = made({
      lr: 0.1,
      momentum: 0.9,
      trustRatio: { rule: "scale-gradient", coefficient: 0.02 },
      excludeFromAdaptation: true,
      variableOptions: [{ name: /dense_\d+\/bias$/i, weightDecay: 0 }],
    });
    const config = JSON.parse(JSON.stringify(optimizer.getConfig())) as object;
    const again = classes.LARS.fromConfig(classes.LARS, config);
    optimizers.push(again);
    expect(again.getConfig()).toEqual(optimizer.getConfig());

    const scheduled = made({ lr: () => 0.1 });
    const lost = classes.LARS.fromConfig(classes.LARS, scheduled.getConfig());
    optimizers.push(lost);
    const variables = makeVariables();
    expect(() => {
      stepOn(lost, variables, 0);
    }).toThrow(/set optimizer.learningRate again/);
    lost.learningRate = 0.1;
    stepOn(lost, variables, 0);
    tf.dispose(variables);
  });

  it("keeps its state when the backend changes: cpu, wasm, plain and back", async () => {
    const expected = makeVariables();
    const reference = made({ lr: 0.1, momentum: 0.9 });
    for (let step = 0; step < 4; step++) stepOn(reference, expected, step);
    const variables = makeVariables();
    const optimizer = made({ lr: 0.1, momentum: 0.9 });
    for (const [step, backend] of ["cpu", "wasm", "plain", "cpu"].entries()) {
      await use(backend);
      stepOn(optimizer, variables, step);
    }
    for (const [index, variable] of variables.entries()) {
      const wanted = expected[index]!.dataSync();
      variable.dataSync().forEach((x, i) => {
        expect(Math.abs(x - wanted[i]!)).toBeLessThan(1e-5 * Math.max(1, Math.abs(wanted[i]!)));
      });
    }
    tf.dispose([variables, expected]);
  });

  it("holds 133,600 bytes of state for the dense model with 32 bits, 35,332 with 8", async () => {
    const batch = digits("train", 1);
    expect(await stateBytesOf("LARS32bit", batch)).toBe(133_600);
    expect(await stateBytesOf("LARS8bit", batch)).toBe(35_332);
  });

  it("packs 8-bit state into int32", async () => {
    const variables = makeVariables();
    const optimizer = new classes.LARS8bit({ lr: 0.1, momentum: 0.9, min8bitSize: 100 });
    stepOn(optimizer, variables, 0);
    const weights = await optimizer.getWeights();
    expect(
      weights.map(({ name, tensor }) => [
        name.replace(/^.*(?=layer)/, ""),
        tensor.dtype,
        tensor.shape,
      ]),
    ).toEqual([
      ["iter", "int32", []],
      ["layer0/lars_step", "int32", []],
      ["layer0/lars_shape", "int32", [2]],
      ["layer0/lars_codes", "int32", [150]],
      ["layer0/lars_absmax", "float32", [3]],
      ["layer1/lars_step", "int32", []],
      ["layer1/lars_momentum", "float32", [7]],
      ["layer2/lars_step", "int32", []],
      ["layer2/lars_shape", "int32", [1]],
      ["layer2/lars_codes", "int32", [129]],
      ["layer2/lars_absmax", "float32", [3]],
    ]);
    expect(optimizer.stateBytes).toBe(600 + 12 + 28 + 513 + 12);
    const before = tf.memory().numTensors;
    await optimizer.getWeights();
    expect(tf.memory().numTensors).toBe(before);
    optimizer.dispose();
    expect(tf.memory().numTensors).toBe(before - weights.length);
    tf.dispose(variables);
  });

  it("names the variable in errors", () => {
    const [variable, ...rest] = makeVariables();
    const optimizer = made({ lr: 0.1 });
    const { name } = variable!;
    const broken = tf.fill([20, 30], NaN);
    expect(() => {
      optimizer.applyGradients({ [name]: broken });
    }).toThrow(NonFiniteGradientError);
    const short = tf.zeros([600]);
    expect(() => {
      optimizer.applyGradients({ [name]: short });
    }).toThrow(/^variable ".*": gradient: .*\[20, 30\].*\[600\]/);
    expect(() => {
      optimizer.applyGradients({ nobody: short });
    }).toThrow(/"nobody"/);
    expect(() => {
      optimizer.applyGradients([{ name: "constructor", tensor: short }]);
    }).toThrow(/"constructor"/);
    expect(() => {
      optimizer.applyGradients([{ name: "nobody", tensor: null as never }]);
    }).toThrow(/"nobody"/);
    const gone = tf.zeros([20, 30]);
    gone.dispose();
    for (const gradient of [gone, 3, "a", {}, new Float32Array(600)]) {
      expect(() => {
        optimizer.applyGradients({ [name]: gradient as never });
      }).toThrow(`variable ${JSON.stringify(name)}: gradient: `);
    }
    const whole = tf.zeros([20, 30], "int32");
    expect(() => {
      optimizer.applyGradients({ [name]: whole });
    }).toThrow(/^variable ".*float32.*int32/);
    whole.dispose();
    const second = rest[0]!;
    const late = tf.zerosLike(second);
    second.dispose();
    expect(() => {
      optimizer.applyGradients({ [second.name]: late });
    }).toThrow(JSON.stringify(second.name));
    late.dispose();
    expect(() => made({ lr: 0.1, momentum: 2 })).toThrow(/momentum: expected .*got 2/);
    expect(() => new classes.LARS32bit({ lr: 0.1, optimBits: 8 })).toThrow(
      /optimBits: expected 32 .*got 8/,
    );
    expect(() => made({ lr: 0.1, variableOptions: 3 as never })).toThrow(
      /variableOptions: expected .*got 3/,
    );
    tf.dispose([variable!, rest, broken, short]);
  });

  it("by tensor operations, names a gradient that was not finite at a later step", async () => {
    await use("plain");
    const [variable] = makeVariables();
    const optimizer = made({ lr: 0.1 });
    const broken = tf.fill([20, 30], NaN);
    const before = [...variable!.dataSync()];
    optimizer.applyGradients({ [variable!.name]: broken });
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect([...variable!.dataSync()]).toEqual(before);
    expect(() => {
      optimizer.applyGradients({ [variable!.name]: broken });
    }).toThrow(NonFiniteGradientError);
    await use("cpu");
    tf.dispose([variable!, broken]);
  });

  it("by tensor operations, does not take variables that join later for broken", async () => {
    await use("plain");
    const [first, second, third] = makeVariables();
    const optimizer = new classes.LARS({ lr: 0.1, momentum: 0.9 });
    for (const variables of [[first!], [second!, third!], [third!, first!], [second!]]) {
      stepOn(optimizer, variables, 0);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const saved = await optimizer.getWeights();
    const counts = await Promise.all(
      saved
        .filter(({ name }) => name.endsWith("lars_step"))
        .map(async ({ tensor }) => (await tensor.data())[0]),
    );
    expect(counts).toEqual([2, 2, 2]);
    optimizer.dispose();
    tf.dispose([first!, second!, third!]);
  });

  it("by tensor operations, finds the same codes without the kernel SearchSorted", async () => {
    tf.registerBackend("bare", () => new MathBackendCPU());
    tf.copyRegisteredKernels("cpu", "bare");
    tf.unregisterKernel("SearchSorted", "bare");
    await use("bare");
    expect(await trajectory("8 bits", 10)).toBeLessThan(1e-5);
    await use("cpu");
  });

  it.each(classNames)(
    "%s trains the convolutional model of TensorFlow.js' tutorial to 65 % in 40 steps on cpu",
    async (name) => {
      const training = { model: "convolutional", lr: 3, batchSize: 8, epochs: 1 } as const;
      const data = { train: digits("train", 320), test: digits("t10k", 200) };
      const accuracy = await accuracyOf(name, training, data);
      console.log(`cpu ${name}, convolutional: ${(100 * accuracy).toFixed(1)} %`);
      expect(accuracy).toBeGreaterThan(0.65);
    },
  );

  it("can't train convolutions on wasm, where TensorFlow.js has no gradient for them", async () => {
    await use("wasm");
    await expect(convolutionalStep(digits("train", 1))).rejects.toThrow(/Conv2DBackpropFilter/);
    await use("cpu");
  });

  it("goes on when wasm's heap has grown and moved between steps", async () => {
    await use("wasm");
    const variables = makeVariables();
    const optimizer = made({ lr: 0.1, momentum: 0.9 });
    stepOn(optimizer, variables, 0);
    stepOn(optimizer, variables, 1);
    const heap = heapBytes();
    const large: tf.Tensor[] = [];
    while (heapBytes() === heap) large.push(tf.zeros([4_000_000]));
    const before = [...variables[0]!.dataSync()];
    stepOn(optimizer, variables, 2);
    expect([...variables[0]!.dataSync()]).not.toEqual(before);
    tf.dispose([large, variables]);
    await use("cpu");
  });

  it("writes in place on wasm, and products see it", async () => {
    await use("wasm");
    const weights = tf.variable(tf.fill([3, 2], 1));
    const x = tf.tensor2d([1, 2, 3], [1, 3]);
    const gradient = tf.fill([3, 2], 1);
    const optimizer = made({ lr: 0.5, trustRatio: "none" });
    // The first step replaces the buffer, which the tensor of the initial values has too.
    optimizer.applyGradients({ [weights.name]: gradient });
    const { dataId } = weights;
    for (const expected of [0, -3, -6]) {
      optimizer.applyGradients({ [weights.name]: gradient });
      const product = tf.matMul(x, weights);
      expect([...product.dataSync()]).toEqual([expected, expected]);
      product.dispose();
    }
    expect(weights.dataId).toBe(dataId);
    tf.dispose([weights, x, gradient]);
    await use("cpu");
  });
});

function heapBytes(): number {
  const { wasm } = tf.backend() as unknown as { wasm: { HEAPU8: Uint8Array } };
  return wasm.HEAPU8.length;
}
