/** `optimizerFor`: the core's optimizer, to the bit, on trees of jax-js. */
import { numpy as np, tree } from "@jax-js/jax";
import type { JsTree } from "@jax-js/jax";
import { beforeAll, describe, expect, it } from "vitest";
import { LARS, NonFiniteGradientError, Parameter } from "../../src/index.js";
import { optimizerFor } from "../../src/jax.js";
import type { HostGradient, HostLeaf, HostOptions, LayerShape } from "../../src/jax.js";
import { expectSameBits } from "../helpers/numbers.js";
import { gradientAt } from "../helpers/problem.js";
import { arrayOf, initialWeights, initWasm, leavesOf, SHAPES, SIZES, valuesOf } from "./helpers.js";

beforeAll(initWasm);

const options = { lr: 0.05, momentum: 0.9, weightDecay: 0.01 } as const;

function parametersOf(): Parameter[] {
  return initialWeights().map(
    (values, layer) => new Parameter(values.slice(), { shape: SHAPES[layer]! }),
  );
}

function gradientsAt(step: number): Float32Array[] {
  return SIZES.map((size, layer) => gradientAt(step, layer, size));
}

/** The weights that the core has after three steps. */
function coreWeights(
  groups = (params: Parameter[]) => [{ params }],
  given = options,
): Float32Array[] {
  const params = parametersOf();
  const core = new LARS(groups(params), given, { threads: 1 });
  for (let step = 0; step < 3; step++) {
    const gradients = gradientsAt(step);
    params.forEach((parameter, layer) => (parameter.grad = gradients[layer]!));
    core.step();
  }
  core.dispose();
  return params.map(({ data }) => data);
}

type Gradients = JsTree<HostGradient>;

/** Kinds of gradients that a step takes. */
const kinds: [string, (gradients: Float32Array[]) => Gradients][] = [
  ["arrays of jax-js", (all) => all.map((values, layer) => arrayOf(values, SHAPES[layer]))],
  ["values on the CPU", (all) => all],
];

function arrays(): np.Array[] {
  return initialWeights().map((values, layer) => arrayOf(values, SHAPES[layer]));
}

function expectSameWeights(
  actual: readonly Float32Array[],
  expected: readonly Float32Array[],
): void {
  actual.forEach((values, layer) => {
    expectSameBits(values, expected[layer]!, `layer ${layer}`);
  });
}

describe("optimizerFor computes the core's bits", () => {
  it.each(kinds)("from arrays, with gradients that are %s", (_, gradientsOf) => {
    const optimizer = optimizerFor(arrays(), options, { threads: 1 });
    for (let step = 0; step < 3; step++) optimizer.step(gradientsOf(gradientsAt(step)));
    const expected = coreWeights();
    expectSameWeights(
      optimizer.parameters.map(({ data }) => data),
      expected,
    );
    const weights = leavesOf(optimizer.arrays());
    expect(weights.map(({ shape }) => shape)).toEqual(SHAPES);
    expectSameWeights(weights.map(valuesOf), expected);
    optimizer.dispose();
  });

  it("the arrays that it gives away do not change with the next step", () => {
    const optimizer = optimizerFor(arrays(), options, { threads: 1 });
    const before = leavesOf(optimizer.arrays());
    optimizer.step(gradientsAt(0));
    expectSameWeights(before.map(valuesOf), initialWeights());
    optimizer.dispose();
  });

  it("with 8 bits, and reports as the core does", () => {
    const eight = { ...options, optimBits: 8, min8bitSize: 500 } as const;
    const optimizer = optimizerFor(arrays(), eight, { threads: 1 });
    const reports = [0, 1, 2].map((step) => optimizer.step(gradientsAt(step)));
    expect(reports.map(({ step }) => step)).toEqual([1, 2, 3]);
    expect(reports[2]!.layers.map(({ name }) => name)).toEqual(["0", "1", "2"]);
    const expected = coreWeights(undefined, eight);
    expectSameWeights(
      optimizer.parameters.map(({ data }) => data),
      expected,
    );
    expect(optimizer.optimizer.stateBytes).toBeLessThan(4 * SIZES.reduce((a, b) => a + b, 0));
    optimizer.dispose();
  });

  it("on parameters, which are used as they are, with the gradients that they hold", () => {
    const params = parametersOf();
    const optimizer = optimizerFor({ a: params[0]!, rest: [params[1]!, params[2]!] }, options);
    for (let step = 0; step < 3; step++) {
      const gradients = gradientsAt(step);
      params.forEach((parameter, layer) => (parameter.grad = gradients[layer]!));
      optimizer.step();
    }
    optimizer.dispose();
    expectSameWeights(
      params.map(({ data }) => data),
      coreWeights(),
    );
  });

  it.each<[string, HostOptions["trustRatioMask"]]>([
    ["a tree", [true, false, true]],
    ["a function", (shapes) => tree.map(({ ndim }: LayerShape) => ndim > 1, shapes)],
  ])("with masks as %s in the place of groups", (_, mask) => {
    const masks = { trustRatioMask: mask!, weightDecayMask: mask! };
    const optimizer = optimizerFor(arrays(), { ...options, ...masks }, { threads: 1 });
    for (let step = 0; step < 3; step++) optimizer.step(gradientsAt(step));
    const expected = coreWeights(([a, b, c]) => [
      { params: [a!, c!] },
      { params: [b!], trustRatio: "none", weightDecay: 0 } as { params: Parameter[] },
    ]);
    expectSameWeights(
      optimizer.parameters.map(({ data }) => data),
      expected,
    );
    expect(optimizer.optimizer.paramGroups.length).toBe(2);
    optimizer.dispose();
  });

  it("takes gradients into the kernels' memory, those of many megabytes piece by piece", () => {
    const values = Float32Array.from({ length: 2 ** 22 + 5 }, (_, index) => index);
    const optimizer = optimizerFor([np.zeros([values.length])], options, { threads: 1 });
    const memory = optimizer.parameters[0]!.grad;
    optimizer.step([arrayOf(values)]);
    expect(optimizer.parameters[0]!.grad).toBe(memory);
    expectSameBits(memory!, values);
    optimizer.step([null]);
    optimizer.step([values.fill(1)]);
    expect(optimizer.parameters[0]!.grad).toBe(memory);
    expect(memory!.every((value) => value === 1)).toBe(true);
    optimizer.dispose();
  });

  it("leaves a layer alone whose gradient is null", () => {
    const optimizer = optimizerFor(arrays(), options, { threads: 1 });
    const gradients: (Float32Array | null)[] = gradientsAt(0);
    gradients[1] = null;
    const { layers } = optimizer.step(gradients);
    expect(layers.map(({ name }) => name)).toEqual(["0", "2"]);
    expectSameBits(optimizer.parameters[1]!.data, initialWeights()[1]!);
    optimizer.dispose();
  });

  it("throws for a gradient that is not finite, and has written nothing", () => {
    const optimizer = optimizerFor({ w: arrayOf([1, 2, 3]) }, options, { threads: 1 });
    expect(() => optimizer.step({ w: arrayOf([1, NaN, 1]) })).toThrow(NonFiniteGradientError);
    expectSameBits(optimizer.parameters[0]!.data, Float32Array.of(1, 2, 3));
    optimizer.dispose();
  });
});

describe("optimizerFor refuses", () => {
  const w = (): { w: np.Array } => ({ w: arrayOf([1, 2, 3]) });

  it.each<[string, () => unknown, RegExp]>([
    ["no arrays", () => optimizerFor([], options), /params: expected .*got a tree without arrays/],
    ["no options", () => optimizerFor(w(), undefined as never), /options: expected .*undefined/],
    [
      "a number",
      () => optimizerFor({ w: 3 as unknown as HostLeaf }, options),
      /params "w": expected .*got 3/,
    ],
    [
      "integers",
      () => optimizerFor([np.array([1, 2], { dtype: np.int32 })], options),
      /params "0": expected float32/,
    ],
    ["a wrong option", () => optimizerFor(w(), { lr: -1 }), /lr: expected .*got -1/],
    ["an unknown option", () => optimizerFor(w(), { lr: 1, rate: 1 } as never), /"?rate"?/],
    [
      "a mask of another structure",
      () => optimizerFor(w(), { lr: 1, trustRatioMask: [true] }),
      /trustRatioMask: expected/,
    ],
    [
      "gradients of another structure",
      () => optimizerFor(w(), options).step([new Float32Array(3)]),
      /gradients: expected/,
    ],
    [
      "gradients of another length",
      () => optimizerFor(w(), options).step({ w: new Float32Array(2) }),
      /"w".*expected.*3, got.*2/,
    ],
    [
      "gradients of another type",
      () => optimizerFor(w(), options).step({ w: np.array([1, 2, 3], { dtype: np.int32 }) }),
      /gradients "w": expected/,
    ],
  ])("%s", (_, run, message) => {
    expect(run).toThrow(message);
  });
});
