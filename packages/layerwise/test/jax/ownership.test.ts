/** Who owns which array: every function consumes its arguments, and nothing is left behind. */
import { jit, numpy as np, tree } from "@jax-js/jax";
import { beforeAll, describe, expect, it } from "vitest";
import { applyUpdates, lars, lars8bit, optimizerFor } from "../../src/jax.js";
import type { LarsState, OptState } from "../../src/jax.js";
import {
  arrayOf,
  initWasm,
  initialWeights,
  jitted,
  leavesOf,
  SHAPES,
  SIZES,
  stepOf,
  valuesOf,
} from "./helpers.js";
import type { Arrays } from "./helpers.js";
import { transformations } from "./transformations.js";

/** The buffers of the wasm device: jax-js does not show them, so the map that holds them is caught. */
let buffers: ReadonlyMap<unknown, unknown>;

beforeAll(async () => {
  await initWasm();
  const set = Object.getOwnPropertyDescriptor(Map.prototype, "set")!;
  const original = set.value as (
    this: Map<unknown, unknown>,
    key: unknown,
    value: unknown,
  ) => Map<unknown, unknown>;
  const found: Map<unknown, unknown>[] = [];
  Map.prototype.set = function (key: unknown, value: unknown) {
    if (typeof value === "object" && value !== null && "ptr" in value && "ref" in value)
      found.push(this);
    return original.call(this, key, value);
  };
  const probe = np.array(new Float32Array(1000));
  Object.defineProperty(Map.prototype, "set", set);
  buffers = found[0]!;
  const before = buffers.size;
  probe.dispose();
  expect(buffers.size).toBe(before - 1);
});

const options = { lr: 0.05, momentum: 0.9, weightDecay: 0.01, min8bitSize: 500 };

function gradients(): np.Array[] {
  return SIZES.map((size, layer) => arrayOf(new Float32Array(size).fill(0.1), SHAPES[layer]));
}

function parameters(): np.Array[] {
  return initialWeights().map((values, layer) => arrayOf(values, SHAPES[layer]));
}

function references(arrays: Arrays | OptState): number[] {
  return leavesOf(arrays).map(({ refCount }) => refCount);
}

function disposeAll(...trees: (Arrays | OptState)[]): void {
  for (const each of trees) tree.dispose(each);
}

describe("ownership", () => {
  it.each(transformations)(
    "%s: consumes gradients, state and parameters; owns nothing after 3 steps",
    (_, transformation) => {
      const before = buffers.size;
      let params: Arrays = parameters();
      let state = transformation.init(tree.ref(params));
      for (let index = 0; index < 3; index++) {
        const given: readonly [Arrays, OptState, Arrays] = [gradients(), state, params];
        const [updates, next] = transformation.update(given[0], given[1], tree.ref(given[2]));
        // An update that passes as it is has changed hands.
        const passed = leavesOf(updates);
        const held = leavesOf(given[0]).filter((each) => each.refCount > 0);
        expect(held.every((each) => each.refCount === 1 && passed.includes(each))).toBe(true);
        expect(references(params).every((count) => count === 1)).toBe(true);
        params = applyUpdates(params, updates);
        expect(references(given[2]).every((count) => count === 0)).toBe(true);
        state = next;
      }
      expect(references(params).every((count) => count === 1)).toBe(true);
      expect(references(state).every((count) => count === 1)).toBe(true);
      disposeAll(params, state);
      expect(buffers.size).toBe(before);
    },
  );

  it.each(["lars with everything", "lars8bit", "all in one"])(
    "%s under jit: as many buffers after 1,000 steps as after 10",
    { timeout: 300_000 },
    (name) => {
      const before = buffers.size;
      const [, transformation] = transformations.find(([each]) => each === name)!;
      const step = jitted(stepOf(transformation));
      let params: Arrays = parameters();
      let state = transformation.init(tree.ref(params));
      let early = 0;
      for (let index = 0; index < 1000; index++) {
        [params, state] = step(gradients(), state, params);
        leavesOf(params)[1]!.ref.dataSync();
        if (index === 9) early = buffers.size;
      }
      expect(buffers.size).toBe(early);
      disposeAll(params, state);
      step.dispose();
      expect(buffers.size).toBe(before);
    },
  );

  it.each(transformations)(
    "%s without jit: as many buffers after 60 steps as after 12, though only weights are read",
    (_, transformation) => {
      const step = stepOf(transformation);
      let params: Arrays = parameters();
      let state = transformation.init(tree.ref(params));
      const held: number[] = [];
      for (let index = 0; index < 60; index++) {
        [params, state] = step(gradients(), state, params);
        for (const each of leavesOf(params)) each.ref.dataSync();
        held.push(buffers.size);
      }
      expect(held[59]).toBe(held[11]);
      disposeAll(params, state);
    },
  );

  it("optimizerFor consumes parameters and gradients, and gives its weights away", () => {
    const before = buffers.size;
    const optimizer = optimizerFor(parameters(), options, { threads: 1 });
    for (let index = 0; index < 3; index++) optimizer.step(gradients());
    const params = optimizer.arrays();
    expect(references(params)).toEqual([1, 1, 1]);
    tree.dispose(params);
    optimizer.dispose();
    expect(buffers.size).toBe(before);
  });
});

describe("inside jit", () => {
  it("takes the rate as an argument", () => {
    const compiled = jit(
      (rate: np.Array, gradient: np.Array, state: LarsState, params: np.Array) => {
        const optimizer = lars({ ...options, lr: (count) => (count.dispose(), rate.ref) });
        const [updates, next] = optimizer.update(gradient, state, params.ref);
        rate.dispose();
        return [applyUpdates(params, updates), next];
      },
    );
    const state = lars(options).init(arrayOf([1, 2, 3]));
    // Its own type is too deep for the linter.
    const step = compiled as unknown as (
      ...given: [number, np.Array, OptState, np.Array]
    ) => [np.Array, OptState];
    const [params, next] = step(0, arrayOf([1, 1, 1]), state, arrayOf([1, 2, 3]));
    expect([...(params.dataSync() as Float32Array)]).toEqual([1, 2, 3]);
    tree.dispose(next);
    compiled.dispose();
  });

  it.each([NaN, Infinity])("skips a step whose gradient has %s, and counts it", (broken) => {
    const optimizer = lars8bit({ ...options, percentileClipping: 50, min8bitSize: 1 });
    const step = jitted(stepOf(optimizer));
    const params = arrayOf([1, 2, 3]);
    let [moved, state] = step(arrayOf([1, 1, 1]), optimizer.init(params.ref), params);
    const before = [moved, (state as LarsState).layers]
      .flatMap(leavesOf)
      .map((each) => [...valuesOf(each)]);
    [moved, state] = step(arrayOf([1, broken, 1]), state, moved);
    const after = [moved, (state as LarsState).layers]
      .flatMap(leavesOf)
      .map((each) => [...valuesOf(each)]);
    expect(after).toEqual(before);
    const { count, skipped } = state as LarsState;
    expect([count.ref.item(), skipped.ref.item()]).toEqual([1, 1]);
    disposeAll(moved, state);
    step.dispose();
  });
});
