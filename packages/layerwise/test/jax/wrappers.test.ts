/** Transformations around another one: `skipNonFinite`, `multiSteps`, `masked`; and optax' name in `trace`. */
import type { numpy as np } from "@jax-js/jax";
import { tree } from "@jax-js/jax";
import { beforeAll, describe, expect, it } from "vitest";
import {
  addDecayedWeights,
  chain,
  clipByPercentile,
  lars,
  lars8bit,
  masked,
  multiSteps,
  scaleByLearningRate,
  scaleByTrustRatio,
  skipNonFinite,
  trace,
} from "../../src/jax.js";
import type { GradientTransformation, LayerShape, Mask, OptState } from "../../src/jax.js";
import { expectSameBits, relativeDifference } from "../helpers/numbers.js";
import { randomArray } from "../helpers/random.js";
import { expectRefusal } from "../helpers/refusal.js";
import {
  arrayOf,
  initialWeights,
  initWasm,
  jitted,
  leavesOf,
  SHAPES,
  SIZES,
  stepOf,
  valuesOf,
} from "./helpers.js";
import type { Arrays } from "./helpers.js";

beforeAll(initWasm);

/** Gradients of a step, the same each time. */
function gradientsAt(step: number): Float32Array[] {
  return SIZES.map((size, layer) =>
    randomArray(size, 100 * (step + 1) + layer, { scale: 10 ** -layer }),
  );
}

function arraysOf(layers: readonly Float32Array[]): np.Array[] {
  return layers.map((values, layer) => arrayOf(values, SHAPES[layer]));
}

interface Run {
  /** After each step. */
  readonly weights: Float32Array[][];
  /** What was added to the weights in each step. */
  readonly state: OptState;
}

/** Steps under `jit` on given gradients. */
function run(
  transformation: GradientTransformation,
  gradients: readonly (readonly Float32Array[])[],
): Run {
  const step = jitted(stepOf(transformation));
  let params: Arrays = arraysOf(initialWeights());
  let state = transformation.init(tree.ref(params));
  const weights = gradients.map((layers) => {
    [params, state] = step(arraysOf(layers), state, params);
    return leavesOf(params).map((each) => valuesOf(each).slice());
  });
  tree.dispose(params);
  step.dispose();
  return { weights, state };
}

function expectClose(actual: Run, expected: Run, tolerance: number): void {
  actual.weights.forEach((layers, step) => {
    layers.forEach((values, layer) => {
      const wanted = expected.weights[step]![layer]!;
      expect(relativeDifference(values, wanted), `step ${step}`).toBeLessThanOrEqual(tolerance);
    });
  });
}

function expectSame(actual: readonly Float32Array[], expected: readonly Float32Array[]): void {
  actual.forEach((values, layer) => {
    expectSameBits(values, expected[layer]!);
  });
}

const STEPS = 6;

describe("skipNonFinite", () => {
  const options = { lr: 0.05, momentum: 0.9, weightDecay: 0.01, percentileClipping: 40 };
  const pieces: Record<string, () => GradientTransformation> = {
    "clip-update": () =>
      chain(
        clipByPercentile(40),
        addDecayedWeights(0.01),
        trace({ momentum: 0.9 }),
        scaleByTrustRatio(),
        scaleByLearningRate(0.05),
      ),
    "scale-gradient": () =>
      chain(
        clipByPercentile(40),
        scaleByTrustRatio({ trustRatio: "scale-gradient", weightDecay: 0.01 }),
        scaleByLearningRate(0.05),
        trace({ momentum: 0.9 }),
      ),
  };

  it.each(["clip-update", "scale-gradient"] as const)(
    "makes of the pieces what lars is, %s: within 1e-6 (float32), with NaN and infinity in between",
    (trustRatio) => {
      const gradients = Array.from({ length: STEPS }, (_, step) => gradientsAt(step));
      gradients[1]![2]![5] = NaN;
      gradients[4]![0]![0] = -Infinity;
      const expected = run(lars({ ...options, trustRatio }), gradients);
      const actual = run(skipNonFinite(pieces[trustRatio]!()), gradients);
      expectClose(actual, expected, 1e-6);
      expectSame(actual.weights[1]!, actual.weights[0]!);
      expectSame(actual.weights[4]!, actual.weights[3]!);
      const skipped = [actual.state, expected.state].map((state) =>
        (state as { skipped: np.Array }).skipped.item(),
      );
      expect(skipped).toEqual([2, 2]);
    },
  );

  it("changes no bit of the inner state in a step that is skipped", () => {
    const inner = trace({ momentum: 0.9, dampening: 0.1, optimBits: 8, min8bitSize: 500 });
    const transformation = skipNonFinite(inner);
    const valuesIn = (state: OptState): unknown[] =>
      leavesOf(state).map((each) => [...(each.ref.dataSync() as Float32Array)]);
    const [, state] = transformation.update(
      arraysOf(gradientsAt(0)),
      transformation.init(arraysOf(initialWeights())),
    );
    const before = valuesIn(state.inner);
    const broken = gradientsAt(1);
    broken[0]![3] = NaN;
    const [updates, next] = transformation.update(arraysOf(broken), state);
    expect(valuesIn(next.inner)).toEqual(before);
    for (const each of leavesOf(updates)) {
      expect(valuesOf(each).every((value) => value === 0)).toBe(true);
    }
    expect(next.skipped.ref.item()).toBe(1);
    tree.dispose([updates, next] as OptState);
  });

  it("refuses another state", () => {
    const transformation = skipNonFinite(trace({ momentum: 0.9 }));
    const state = trace({ momentum: 0.9 }).init(arrayOf([1])) as never;
    expectRefusal(() => transformation.update(arrayOf([1]), state), TypeError, [
      "skipNonFinite: state",
      "skipped, inner",
    ]);
  });
});

describe("multiSteps", () => {
  const options = { lr: 0.05, momentum: 0.9, weightDecay: 0.01 };
  const K = 3;

  /** The mean, or the sum, of each K gradients. */
  function accumulated(gradients: readonly Float32Array[][], factor: number): Float32Array[][] {
    return Array.from({ length: gradients.length / K }, (_, index) =>
      SIZES.map((size, layer) =>
        Float32Array.from({ length: size }, (_, element) => {
          const parts = gradients.slice(index * K, (index + 1) * K);
          return parts.reduce((sum, each) => sum + each[layer]![element]!, 0) * factor;
        }),
      ),
    );
  }

  it.each([
    ["means", true],
    ["sums", false],
  ] as const)("steps with the %s of 3 gradients: within 1e-6 (float32 sums)", (_, useGradMean) => {
    const gradients = Array.from({ length: 4 * K }, (_, step) => gradientsAt(step));
    const inner = lars({ ...options, percentileClipping: 40 });
    const { weights } = run(multiSteps(inner, K, { useGradMean }), gradients);
    const expected = run(inner, accumulated(gradients, useGradMean ? 1 / K : 1));
    const initial = initialWeights();
    weights.forEach((layers, step) => {
      const isLast = step % K === K - 1;
      if (!isLast) expectSame(layers, step === 0 ? initial : weights[step - 1]!);
    });
    const made = weights.filter((_, step) => step % K === K - 1);
    expectClose({ weights: made, state: [] }, expected, 1e-6);
  });

  it("k = 1 is the inner transformation, to the bit", () => {
    const gradients = Array.from({ length: 4 }, (_, step) => gradientsAt(step));
    const expected = run(lars8bit({ ...options, min8bitSize: 500 }), gradients);
    const actual = run(multiSteps(lars8bit({ ...options, min8bitSize: 500 }), 1), gradients);
    actual.weights.forEach((layers, step) => {
      expectSame(layers, expected.weights[step]!);
    });
  });

  it("a NaN among the gradients skips their step, and the next is made", () => {
    const gradients = Array.from({ length: 2 * K }, (_, step) => gradientsAt(step));
    gradients[1]![0]![0] = NaN;
    const { weights, state } = run(multiSteps(lars(options), K), gradients);
    expectSame(weights[K - 1]!, initialWeights());
    const good = run(lars(options), accumulated(gradients, 1 / K).slice(1));
    expectClose({ weights: [weights[2 * K - 1]!], state: [] }, good, 1e-6);
    const { inner } = state as { inner: { count: np.Array; skipped: np.Array } };
    expect([inner.count.ref.item(), inner.skipped.ref.item()]).toEqual([1, 1]);
  });

  it("inside skipNonFinite leaves out the gradient with NaN alone", () => {
    const gradients = Array.from({ length: K + 1 }, (_, step) => gradientsAt(step));
    gradients[1]![0]![0] = NaN;
    const { weights } = run(skipNonFinite(multiSteps(lars(options), K)), gradients);
    const finite = [gradients[0]!, gradients[2]!, gradients[3]!];
    const expected = run(lars(options), accumulated(finite, 1 / K));
    expectClose({ weights: [weights[K]!], state: [] }, expected, 1e-6);
  });

  it.each([
    ["k", () => multiSteps(lars(options), 0), RangeError, ["multiSteps: k", "0"]],
    ["k", () => multiSteps(lars(options), 1.5), RangeError, ["multiSteps: k", "1.5"]],
    [
      "an unknown option",
      () => multiSteps(lars(options), 2, { mean: true } as never),
      TypeError,
      ["multiSteps: options", "mean"],
    ],
    [
      "useGradMean",
      () => multiSteps(lars(options), 2, { useGradMean: 1 as never }),
      TypeError,
      ["multiSteps: useGradMean", "1"],
    ],
  ] as const)("refuses a wrong %s", (_, construct, type, parts) => {
    expectRefusal(construct, type, parts);
  });
});

describe("masked", () => {
  const mask = [true, false, true];

  it("decays the kept layers alone: what the piece's own mask does, to the bit", () => {
    const gradients = Array.from({ length: 3 }, (_, step) => gradientsAt(step));
    const own = run(
      chain(addDecayedWeights(0.1, mask), scaleByLearningRate(0.1)),
      gradients,
    ).weights;
    const around = run(
      chain(masked(addDecayedWeights(0.1), mask), scaleByLearningRate(0.1)),
      gradients,
    ).weights;
    own.forEach((layers, step) => {
      expectSame(around[step]!, layers);
    });
  });

  it("updates of other layers pass as they are, and have no state", () => {
    const transformation = masked(trace({ momentum: 0.9 }), mask);
    const state = transformation.init(arraysOf(initialWeights()));
    expect(leavesOf(state).map(({ shape }) => shape)).toEqual([SHAPES[0], SHAPES[2]]);
    const gradients = arraysOf(gradientsAt(0));
    const [updates, next] = transformation.update(gradients, state);
    expect(leavesOf(updates)[1]).toBe(gradients[1]);
    tree.dispose([updates, next] as OptState);
  });

  const masks: [string, Mask][] = [
    ["a tree", { dense: { bias: false, kernel: true }, head: true }],
    ["a prefix", { dense: false, head: true }],
    ["a function", (shapes) => tree.map(({ ndim }: LayerShape) => ndim > 1, shapes)],
  ];

  it.each(masks)("takes %s as mask, with objects", (_, given) => {
    const params = (): Arrays => ({
      dense: { bias: arrayOf([1, 2]), kernel: arrayOf([1, 2, 3, 4], [2, 2]) },
      head: arrayOf([5, 6], [1, 2]),
    });
    const transformation = masked(lars({ lr: 0.1, momentum: 0.9 }), given);
    const step = jitted(stepOf(transformation));
    const [next, state] = step(params(), transformation.init(params()), params());
    const { dense, head } = next as { dense: { bias: np.Array }; head: np.Array };
    expect([...valuesOf(dense.bias)]).toEqual([2, 4]);
    expect(valuesOf(head)[0]).toBeLessThan(5);
    tree.dispose([next, state] as OptState);
    step.dispose();
  });

  it("gives another's transformation trees without the layers", () => {
    const seen: string[] = [];
    const foreign: GradientTransformation<[]> = {
      init(params) {
        seen.push(tree.structure(params).toString());
        tree.dispose(params);
        return [];
      },
      update(updates, state, params) {
        tree.dispose(params);
        const doubled = tree.map((update: np.Array) => update.mul(2), updates);
        return [doubled, state];
      },
    };
    const transformation = masked(foreign, [true, false]);
    const state = transformation.init([arrayOf([1]), arrayOf([1])]);
    const [updates] = transformation.update([arrayOf([1]), arrayOf([1])], state);
    expect(leavesOf(updates).map((each) => each.item())).toEqual([2, 1]);
    expect(seen).toEqual(["JsTreeDef([*, []])"]);
  });

  it("refuses a mask of another structure", () => {
    const transformation = masked(trace({ momentum: 0.9 }), [true, false]);
    expectRefusal(() => transformation.init([arrayOf([1])]), TypeError, ["masked: mask"]);
  });
});

describe("trace", () => {
  it("takes decay for momentum: the same bits", () => {
    const gradients = Array.from({ length: 3 }, (_, step) => gradientsAt(step));
    const [first, second] = [{ decay: 0.9 }, { momentum: 0.9 }].map(
      (options) => run(trace({ ...options, nesterov: true }), gradients).weights,
    );
    first!.forEach((layers, step) => {
      expectSame(layers, second![step]!);
    });
  });
});
