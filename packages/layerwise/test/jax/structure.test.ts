/**
 * One structure of state: what `update` returns has the structure, the order of keys and the types of what it was given,
 * so that `jit` traces and compiles once, and saved leaves go back to where they were.
 */
import { jit, numpy as np, tree } from "@jax-js/jax";
import { beforeAll, describe, expect, it } from "vitest";
import * as library from "../../src/jax.js";
import { applyUpdates, chain, lars, lars8bit, trace } from "../../src/jax.js";
import type { GradientTransformation, OptState } from "../../src/jax.js";
import { expectRefusal } from "../helpers/refusal.js";
import { arrayOf, initialWeights, initWasm, SHAPES, SIZES } from "./helpers.js";
import type { Arrays } from "./helpers.js";
import { transformations } from "./transformations.js";

beforeAll(initWasm);

const STEPS = 5;

function parameters(): np.Array[] {
  return initialWeights().map((values, layer) => arrayOf(values, SHAPES[layer]));
}

function gradients(): np.Array[] {
  return SIZES.map((size, layer) => arrayOf(new Float32Array(size).fill(0.1), SHAPES[layer]));
}

/** What `jit` tells calls apart by: structure, order of keys, types and shapes. */
function signature(state: OptState): string {
  return JSON.stringify(tree.map((array: np.Array) => array.aval, state));
}

/** A step under `jit` that counts how often it is traced. */
function countedStep(transformation: GradientTransformation) {
  let traces = 0;
  const step = jit((updates: Arrays, state: OptState, params: Arrays) => {
    traces++;
    const [made, next] = transformation.update(updates, state, tree.ref(params));
    return [applyUpdates(params, made), next] as OptState;
  }) as unknown as ((...given: Arrays[]) => [Arrays, OptState]) & { dispose(): void };
  return { step, traces: () => traces };
}

describe("one structure of state", () => {
  it("is tested for every transformation that the library has", () => {
    const others = ["applyUpdates", "decodeState", "encodeState", "optimizerFor", "tabulated"];
    const names = Object.entries(library)
      .filter(([name, value]) => typeof value === "function" && /^[a-z]/.test(name))
      .map(([name]) => name)
      .filter((name) => !others.includes(name));
    const titles = transformations.map(([title]) => title);
    for (const name of names) {
      expect(
        titles.some((title) => title.includes(name)),
        name,
      ).toBe(true);
    }
  });

  it.each(transformations)("%s: init's, after each step, in one trace", (_, transformation) => {
    const { step, traces } = countedStep(transformation);
    let params: Arrays = parameters();
    let state = transformation.init(tree.ref(params));
    const expected = signature(state);
    for (let index = 0; index < STEPS; index++) {
      [params, state] = step(gradients(), state, params);
      expect(signature(state)).toBe(expected);
    }
    expect(traces()).toBe(1);
    tree.dispose([params, state] as OptState);
    step.dispose();
  });

  it.each(transformations)("%s: init's without jit too", (_, transformation) => {
    let state = transformation.init(parameters());
    const expected = signature(state);
    for (let index = 0; index < 2; index++) {
      const [updates, next] = transformation.update(gradients(), state, parameters());
      tree.dispose(updates);
      state = next;
      expect(signature(state)).toBe(expected);
    }
    tree.dispose(state);
  });

  it("keeps the order of keys of the state where gradients have another", () => {
    const optimizer = lars({ lr: 0.1, momentum: 0.9 });
    const { step, traces } = countedStep(optimizer);
    let params: Arrays = { w: arrayOf([1, 2]), b: arrayOf([1]) };
    let state: OptState = optimizer.init(tree.ref(params));
    for (let index = 0; index < 3; index++) {
      [params, state] = step({ b: arrayOf([1]), w: arrayOf([1, 1]) }, state, params);
      expect(Object.keys((state as { layers: object }).layers)).toEqual(["w", "b"]);
    }
    expect(traces()).toBe(1);
    tree.dispose([params, state] as OptState);
    step.dispose();
  });

  it("leaves of a later state go back into init's structure: the counts are not swapped", () => {
    const optimizer = lars({ lr: 0.1, momentum: 0.9 });
    let state = optimizer.init([arrayOf([1, 2])]);
    for (const value of [1, NaN, 1, 1]) {
      const [updates, next] = optimizer.update([arrayOf([1, value])], state, [arrayOf([1, 2])]);
      tree.dispose(updates);
      state = next;
    }
    const fresh = optimizer.init([arrayOf([1, 2])]);
    const restored = tree.unflatten(tree.structure(fresh), tree.leaves(state)) as typeof state;
    expect([restored.count.ref.item(), restored.skipped.ref.item()]).toEqual([3, 1]);
    tree.dispose([fresh, restored]);
  });
});

describe("states of another transformation are refused", () => {
  const params = (): Arrays => ({ w: arrayOf(new Float32Array(600)) });
  const options = { lr: 0.1, momentum: 0.9, min8bitSize: 500 };

  function updateWith(transformation: GradientTransformation, state: OptState): unknown {
    return transformation.update(params(), state, params());
  }

  const cases: [string, GradientTransformation, GradientTransformation, string[]][] = [
    [
      "lars8bit, that of lars",
      lars8bit(options),
      lars(options),
      ['lars8bit: state: momentum of layer "w"', "8 bits", "32 bits"],
    ],
    [
      "lars, that of lars8bit",
      lars(options),
      lars8bit(options),
      ['lars: state: momentum of layer "w"', "32 bits", "8 bits"],
    ],
    [
      "lars with momentum, that of lars without",
      lars(options),
      lars({ lr: 0.1 }),
      ['momentum of layer "w"', "32 bits", "no momentum"],
    ],
    [
      "lars with percentile clipping, that of lars without",
      lars({ ...options, percentileClipping: 40 }),
      lars(options),
      ['gradientNorms of layer "w"', "float32 [100]", "an empty list"],
    ],
    [
      "lars without percentile clipping, that of lars with",
      lars(options),
      lars({ ...options, percentileClipping: 40 }),
      ['gradientNorms of layer "w"', "an empty list", "float32 [100]"],
    ],
    [
      "trace with 8 bits, that of trace with 32",
      trace({ momentum: 0.9, optimBits: 8, min8bitSize: 500 }),
      trace({ momentum: 0.9 }),
      ['trace: state: momentum of layer "w"', "8 bits", "32 bits"],
    ],
    [
      "trace, that of lars",
      trace({ momentum: 0.9 }),
      lars(options),
      ["trace: state", "count, momentum"],
    ],
    ["lars, that of trace", lars(options), trace({ momentum: 0.9 }), ["lars: state", "skipped"]],
    [
      "trace with dampening, that of trace without",
      trace({ momentum: 0.9, dampening: 0.1 }),
      trace({ momentum: 0.9 }),
      ["trace: state: count", "int32 []"],
    ],
    ["a chain, that of lars", chain(lars(options)), lars(options), ["chain: state", "list of 1"]],
  ];

  it.each(cases)("%s", (_, transformation, other, parts) => {
    const state = other.init(params());
    expectRefusal(() => updateWith(transformation, state), TypeError, parts);
    tree.dispose(state);
  });

  it("momentum of other shapes, by layer", () => {
    const state = lars(options).init({ w: arrayOf([1, 2, 3]) });
    expectRefusal(() => updateWith(lars(options), state), TypeError, [
      'momentum of layer "w"',
      "[600]",
      "[3]",
    ]);
    tree.dispose(state);
  });
});

describe("types other than float32 are refused in init, by layer", () => {
  it.each(transformations.filter(([name]) => !name.includes("no layer left")))(
    "%s",
    (_, transformation) => {
      const params = [arrayOf([1]), arrayOf([1]), np.array([1, 2], { dtype: np.int32 })];
      expectRefusal(() => transformation.init(params), TypeError, [
        'params "2"',
        "float32",
        "int32",
      ]);
    },
  );
});
