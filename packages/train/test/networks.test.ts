/**
 * The networks' gradients, against jax-js' own: its convolution and its automatic differentiation of the
 * whole model, written the plain way.
 */
import { grad, lax, nn, numpy as np } from "@jax-js/jax";
import { beforeAll, describe, expect, test } from "vitest";
import { oneHot } from "../src/models/batch-arrays.js";
import { fastRows } from "../src/models/fast-rows.js";
import { createLenet } from "../src/models/lenet.js";
import { createMlp } from "../src/models/mlp.js";
import type { ModelConfig } from "../src/models/model.js";
import { parametersOf } from "../src/models/parameters.js";
import { randomProblem, relativeDifference, standardised, useWasm } from "./helpers/networks.js";
import type { Problem } from "./helpers/networks.js";

beforeAll(useWasm);

const MLP: ModelConfig = { model: "mlp", hidden: [12, 7], featureShape: [3, 5], classes: 4 };
const LENET: ModelConfig = { model: "lenet", hidden: [], featureShape: [12, 16], classes: 5 };

type Logits = (parameters: np.Array[], x: np.Array) => np.Array;

function dense(x: np.Array, parameters: np.Array[]): np.Array {
  let hidden = x;
  for (let index = 0; index < parameters.length; index += 2) {
    if (index > 0) hidden = nn.relu(hidden);
    hidden = np.dot(hidden, parameters[index]!).add(parameters[index + 1]!);
  }
  return hidden;
}

/** Images [samples, channels, height, width], kernels as the trainer keeps them: channels last. */
function convolve(x: np.Array, [kernel, bias]: np.Array[], border: number): np.Array {
  const weights = kernel!.transpose([0, 3, 1, 2]);
  const padding: [number, number][] = [
    [border, border],
    [border, border],
  ];
  const convolved = lax.convGeneralDilated(x, weights, [1, 1], padding);
  const [samples, channels, height, width] = convolved.shape as [number, number, number, number];
  const shifted = convolved.add(bias!.reshape([1, channels, 1, 1]));
  return nn.relu(np.max(shifted.reshape([samples, channels, height / 2, 2, width / 2, 2]), [3, 5]));
}

function plainLenet(parameters: np.Array[], x: np.Array): np.Array {
  const samples = x.shape[0]!;
  const first = convolve(x.reshape([samples, 1, 12, 16]), parameters.slice(0, 2), 2);
  const second = convolve(first, parameters.slice(2, 4), 0);
  // The trainer's dense layer sees channels last.
  return dense(second.transpose([0, 2, 3, 1]).reshape([samples, -1]), parameters.slice(4));
}

function plainGradients(
  problem: Problem,
  logits: Logits,
): { loss: number; gradients: Float32Array[] } {
  const { options, batch, weights } = problem;
  const { config } = options;
  const count = batch.rows.length;
  const x = standardised(problem);
  const y = oneHot(batch, { rows: count, classes: config.classes });
  const shapes = parametersOf(config).map(({ shape }) => [...shape]);
  const toArrays = (): np.Array[] =>
    weights.map((values, index) => np.array(Float32Array.from(values)).reshape(shapes[index]!));
  const lossOf = (parameters: np.Array[]): np.Array =>
    nn
      .logSoftmax(logits(parameters, np.array(x).reshape([count, -1])), -1)
      .mul(np.array(y).reshape([count, -1]))
      .sum()
      .neg();
  return {
    loss: lossOf(toArrays()).item(),
    gradients: grad(lossOf)(toArrays()).map((array) => array.dataSync() as Float32Array),
  };
}

describe.each([
  {
    config: MLP,
    create: createMlp,
    logits: (parameters: np.Array[], x: np.Array) => dense(x, parameters),
    batchRows: 9,
  },
  { config: LENET, create: createLenet, logits: plainLenet, batchRows: 4 },
])("$config.model", ({ config, create, logits, batchRows }) => {
  const problem = randomProblem(config, batchRows);
  const names = parametersOf(config).map(({ name }) => name);

  test("gradients are those of the plain model: relative difference < 1e-5, of float32 sums in another order", () => {
    const network = create(problem.options);
    network.setWeights(problem.weights);
    const score = network.gradients(problem.batch, problem.gradients);
    const plain = plainGradients(problem, logits);
    expect(Math.abs(score.loss / plain.loss - 1)).toBeLessThan(1e-5);
    names.forEach((name, index) => {
      const difference = relativeDifference(problem.gradients[index]!, plain.gradients[index]!);
      expect({ name, small: difference < 1e-5, difference }).toMatchObject({ name, small: true });
    });
  });

  test("evaluating scores the same batch alike: relative difference < 1e-6", () => {
    const network = create(problem.options);
    network.setWeights(problem.weights);
    const score = network.gradients(problem.batch, problem.gradients);
    const { loss, correct } = network.evaluate(problem.batch);
    expect(correct).toBe(score.correct);
    expect(Math.abs(loss / score.loss - 1)).toBeLessThan(1e-6);
    expect(score.correct).toBeLessThanOrEqual(problem.batch.rows.length);
  });

  test("a batch says the same whatever was loaded before, and so do other weights", () => {
    const network = create(problem.options);
    const fresh = create(problem.options);
    const single = { ...problem.batch, rows: problem.batch.rows.subarray(0, 1) };
    network.setWeights(problem.weights.map((values) => values.map((value) => -value)));
    network.evaluate(problem.batch);
    network.setWeights(problem.weights);
    fresh.setWeights(problem.weights);
    expect(network.evaluate(single)).toEqual(fresh.evaluate(single));
  });

  test("a loss follows its gradient: the difference quotient along it agrees to 1 %", () => {
    const network = create(problem.options);
    network.setWeights(problem.weights);
    const { loss } = network.gradients(problem.batch, problem.gradients);
    const squares = problem.gradients.flatMap((g) => [...g]).reduce((sum, v) => sum + v * v, 0);
    const step = 1e-4 / Math.sqrt(squares);
    const along = (sign: number): number => {
      network.setWeights(
        problem.weights.map((values, index) =>
          values.map((value, element) => value + sign * step * problem.gradients[index]![element]!),
        ),
      );
      return network.evaluate(problem.batch).loss;
    };
    expect(loss).toBeGreaterThan(0);
    const slope = (along(1) - along(-1)) / (2 * step);
    expect(slope / squares).toBeGreaterThan(0.99);
    expect(slope / squares).toBeLessThan(1.01);
  });
});

test("fast sizes are even, no multiples of 4, and have a divisor from 32 to 64", () => {
  expect([1, 2, 3, 256, 512, 1024].map((size) => fastRows(size))).toEqual([
    2, 2, 6, 258, 518, 1026,
  ]);
  expect(fastRows(785, 1)).toBe(786);
});
