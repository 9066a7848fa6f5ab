/** Trees of any kind, and chains with transformations from elsewhere. */
import { jit, numpy as np, tree } from "@jax-js/jax";
import type { JsTree } from "@jax-js/jax";
import { beforeAll, describe, expect, it } from "vitest";
import { LARS, Parameter } from "../../src/index.js";
import {
  addDecayedWeights,
  applyUpdates,
  chain,
  clipByPercentile,
  lars,
  lars8bit,
  scaleByLearningRate,
  scaleByTrustRatio,
  trace,
} from "../../src/jax.js";
import type { GradientTransformation, LarsState, LayerShape, OptState } from "../../src/jax.js";
import { expectSameBits, relativeDifference } from "../helpers/numbers.js";
import { randomArray } from "../helpers/random.js";
import { arrayOf, initWasm, jitted, leavesOf, stepOf, valuesOf } from "./helpers.js";
import type { Arrays } from "./helpers.js";

beforeAll(initWasm);

const options = { lr: 0.05, momentum: 0.9, weightDecay: 0.01 } as const;

/** The same three layers, in the order in which jax-js lists the leaves, in trees of every kind. */
const SHAPES = [[7], [20, 30], [4, 3, 25]];
const trees: [string, (layers: readonly np.Array[]) => Arrays][] = [
  ["a list", (layers) => [...layers]],
  ["an object", ([a, b, c]) => ({ a: a!, b: b!, c: c! })],
  ["objects in an object", ([a, b, c]) => ({ dense: { bias: a!, kernel: b! }, head: { w: c! } })],
  ["lists in lists", ([a, b, c]) => [[a!], [[b!, c!]]]],
  ["a list of objects, one of them empty", ([a, b, c]) => [{ bias: a! }, {}, { deep: [b!, c!] }]],
];

function layersAt(step: number): np.Array[] {
  return SHAPES.map((shape, layer) => {
    const size = shape.reduce((product, length) => product * length, 1);
    return arrayOf(randomArray(size, 100 * step + layer, { scale: 10 ** -layer }), shape);
  });
}

/** The weights after three steps, and the state. */
function run(
  transformation: GradientTransformation,
  of: (layers: readonly np.Array[]) => Arrays,
): { weights: Float32Array[]; params: Arrays; state: OptState } {
  const step = jitted(stepOf(transformation));
  let params = of(layersAt(0));
  let state = transformation.init(tree.ref(params));
  for (let index = 1; index <= 3; index++) {
    [params, state] = step(of(layersAt(index)), state, params);
  }
  step.dispose();
  return { weights: leavesOf(params).map(valuesOf), params, state };
}

describe("trees", () => {
  const expected = (): Float32Array[] => run(lars(options), trees[0]![1]).weights;

  it.each(trees)("%s: the bits of a list, and its own structure back", (_, of) => {
    const { weights, params } = run(lars(options), of);
    const wanted = of(layersAt(0));
    expect(tree.structure(params).toString()).toBe(tree.structure(wanted).toString());
    expected().forEach((values, layer) => {
      expectSameBits(weights[layer]!, values);
    });
  });

  it.each(trees)("%s: 8 bits, both clippings and the pieces", (_, of) => {
    const every = lars8bit({
      ...options,
      min8bitSize: 100,
      percentileClipping: 40,
      maxGradNorm: 1,
    });
    const pieces = chain(
      clipByPercentile(40),
      addDecayedWeights(0.01),
      trace({ momentum: 0.9 }),
      scaleByTrustRatio(),
      scaleByLearningRate(0.05),
    );
    for (const transformation of [every, pieces]) {
      const wanted = run(transformation, trees[0]![1]).weights;
      run(transformation, of).weights.forEach((values, layer) => {
        expectSameBits(values, wanted[layer]!);
      });
    }
  });

  it("a single array", () => {
    const transformation = lars(options);
    const step = jitted(stepOf(transformation));
    const params = arrayOf([1, 2, 3]);
    const [moved, state] = step(arrayOf([1, 1, 1]), transformation.init(params.ref), params);
    const [listed] = jitted(stepOf(transformation))(
      [arrayOf([1, 1, 1])],
      transformation.init([arrayOf([1, 2, 3])]),
      [arrayOf([1, 2, 3])],
    );
    expectSameBits(valuesOf(moved as np.Array), valuesOf((listed as np.Array[])[0]!));
    expect((state as LarsState).count.ref.item()).toBe(1);
  });

  it("masks: a tree, a prefix of it and a function say the same of objects", () => {
    const of = trees[2]![1];
    const masks = [
      { dense: { bias: false, kernel: true }, head: { w: true } },
      { dense: { bias: false, kernel: true }, head: true },
      (shapes: JsTree<LayerShape>) => tree.map(({ ndim }: LayerShape) => ndim > 1, shapes),
    ] as const;
    const [all, ...others] = masks.map(
      (mask) => run(lars({ ...options, trustRatioMask: mask, weightDecayMask: mask }), of).weights,
    );
    for (const weights of others) {
      weights.forEach((values, layer) => {
        expectSameBits(values, all![layer]!);
      });
    }
    // The masked layer moved otherwise than without a mask, the others did not.
    const unmasked = run(lars(options), of).weights;
    expect(relativeDifference(all![0]!, unmasked[0]!)).toBeGreaterThan(1e-3);
    expectSameBits(all![1]!, unmasked[1]!);
  });

  it("names layers by their way through the tree", () => {
    const names: string[] = [];
    const transformation = lars({
      ...options,
      trustRatioMask: (shapes) => {
        tree.map((shape: LayerShape) => names.push(shape.name) > 0, shapes);
        return true;
      },
    });
    tree.dispose(transformation.init({ dense: [arrayOf([1]), arrayOf([1])], head: arrayOf([1]) }));
    expect(names).toEqual(["dense/0", "dense/1", "head"]);
  });
});

/**
 * Transformations as optax has them, written against the shape alone: `init(params)` and
 * `update(updates, state, params)`, consuming what they are given.
 */
function foreignScale(factor: number): GradientTransformation {
  return {
    init(params) {
      tree.dispose(params);
      return [];
    },
    update(updates, state, params) {
      tree.dispose(params);
      const scaled = tree.map((update: np.Array) => update.mul(factor), updates);
      return [scaled, state];
    },
  };
}

/** A moving average, which has a state of the parameters' structure. */
function foreignAverage(decay: number): GradientTransformation {
  return {
    init: (params) => tree.map((each: np.Array) => np.zerosLike(each), params),
    update(updates, state, params) {
      tree.dispose(params);
      const next = tree.map(
        (average: np.Array, update: np.Array) => average.mul(decay).add(update),
        state,
        updates,
      );
      return [tree.ref(next) as typeof updates, next];
    },
  };
}

/** What optax calls `chain`. */
function foreignChain(...parts: GradientTransformation[]): GradientTransformation {
  return {
    init(params) {
      const states = parts.map((part) => part.init(tree.ref(params)));
      tree.dispose(params);
      return states;
    },
    update(updates, state, params) {
      const next: OptState[] = [];
      let passed = updates;
      parts.forEach((part, index) => {
        const [made, after] = part.update(passed, (state as OptState[])[index]!, tree.ref(params!));
        passed = made;
        next.push(after);
      });
      tree.dispose(params);
      return [passed, next];
    },
  };
}

describe("chains with optax-shaped transformations", () => {
  const of = trees[2]![1];

  it("scaled gradients before lars: the core's step with gradScale, within 1e-6 (float32)", () => {
    const { weights } = run(chain(foreignScale(0.5), lars(options)), of);
    const params = layersAt(0).map(
      (values, layer) => new Parameter(valuesOf(values), { shape: SHAPES[layer]! }),
    );
    const core = new LARS(params, options, { threads: 1 });
    for (let index = 1; index <= 3; index++) {
      const gradients = layersAt(index);
      params.forEach((parameter, layer) => (parameter.grad = valuesOf(gradients[layer]!)));
      core.step({ gradScale: 0.5 });
    }
    weights.forEach((values, layer) => {
      expect(relativeDifference(values, params[layer]!.data)).toBeLessThanOrEqual(1e-6);
    });
  });

  it("someone else's momentum and chain around our pieces: what lars computes, within 1e-6", () => {
    const mixed = foreignChain(
      addDecayedWeights(0.01),
      foreignAverage(0.9),
      scaleByTrustRatio(),
      foreignScale(-0.05),
    );
    const expected = run(lars(options), of).weights;
    run(mixed, of).weights.forEach((values, layer) => {
      expect(relativeDifference(values, expected[layer]!)).toBeLessThanOrEqual(1e-6);
    });
  });

  it("runs inside jit together with grad's updates of another structure of state", () => {
    const optimizer: GradientTransformation = chain(lars(options), foreignAverage(0.5));
    const step = jit((gradient: np.Array, state: OptState, params: np.Array) => {
      const [updates, next] = optimizer.update(gradient, state, params.ref);
      return [applyUpdates(params, updates), next];
    });
    const params = arrayOf([1, 2, 3]);
    const state = optimizer.init(params.ref);
    const [moved, next] = step(arrayOf([1, 1, 1]), state, params) as [np.Array, OptState];
    expect(valuesOf(moved)[0]).toBeLessThan(1);
    tree.dispose([moved, next] as OptState);
  });
});
