/** The twin of src/decide/ in operations of jax-js, held to src/decide/. */
import { jit, numpy as np } from "@jax-js/jax";
import { beforeAll, describe, expect, it } from "vitest";
import { clipToPercentile, globalClipScale, trustRatioOf } from "../../src/adapters/jax/decide.js";
import { areFinite, finiteSum, normOf, scaledSquares } from "../../src/adapters/jax/norms.js";
import * as global from "../../src/decide/global-clipping.js";
import * as percentile from "../../src/decide/percentile-clipping.js";
import * as scalar from "../../src/decide/trust-ratio.js";
import type { TrustRatio } from "../../src/decide/trust-ratio.js";
import { resolveTrustRatio } from "../../src/options/options.js";
import { normOf as exactNorm } from "../helpers/numbers.js";
import { randomArray } from "../helpers/random.js";
import { percentileClippings } from "../helpers/vectors.js";
import { arrayOf, initWasm, valuesOf } from "./helpers.js";

beforeAll(initWasm);

/** Every rule with every value of every field. */
const rules: TrustRatio[] = (["unit", "freeze"] as const).flatMap((whenZero) => [
  ...[0, 0.02, 3].map((maxUnorm) => resolveTrustRatio({ rule: "clip-update", maxUnorm, whenZero })),
  ...[0, 0.1].map((eps) =>
    resolveTrustRatio({ rule: "scale-update", coefficient: 0.01, eps, whenZero }),
  ),
  ...["sum", "joint", "gradient"].flatMap((denominator) =>
    [true, false].flatMap((clip) =>
      [0, 0.1].map((eps) =>
        resolveTrustRatio({
          rule: "scale-gradient",
          coefficient: 0.5,
          denominator,
          clip,
          eps,
          whenZero,
        }),
      ),
    ),
  ),
  resolveTrustRatio("none"),
]);

const NORMS = [0, 1e-30, 0.3, 12, 1e30];

function scalarOf(value: number): np.Array {
  return np.array(value, { dtype: np.float32 });
}

function valueOf(array: np.Array): number {
  return array.item();
}

/** Every combination of norms and rates, one a column: the twin works on arrays of them as on scalars. */
const grid = NORMS.flatMap((weight) =>
  NORMS.flatMap((other) =>
    [0, 0.05, 2].map((learningRate) => ({
      weight: Math.fround(weight),
      gradient: Math.fround(other),
      update: Math.fround(other / 3),
      learningRate: Math.fround(learningRate),
    })),
  ),
);

describe("trust ratios of the twin: relative error < 1e-6 (a float32 reciprocal and products)", () => {
  const withDecay = rules.flatMap((rule) =>
    [0, 0.1].map((weightDecay) => [JSON.stringify(rule), weightDecay, rule] as const),
  );

  it.each(withDecay)("%s, weight decay %s", (_, weightDecay, rule) => {
    const column = (name: keyof (typeof grid)[number]) => (): np.Array =>
      arrayOf(grid.map((norms) => norms[name]));
    const norms = {
      weight: column("weight"),
      gradient: column("gradient"),
      update: column("update"),
    };
    const factors = { weightDecay, learningRate: column("learningRate") };
    const ratios = trustRatioOf(rule, norms, factors);
    const actual = ratios === null ? grid.map(() => 1) : [...valuesOf(ratios)];
    ratios?.dispose();
    grid.forEach(({ learningRate, ...norms }, index) => {
      const expected = scalar.trustRatioOf(rule, norms, { weightDecay, learningRate });
      const ratio = actual[index]!;
      // What float32 can't hold overflows or vanishes here.
      if (expected > 3e38) expect(ratio).toBe(Infinity);
      else if (expected > 0 && expected < 1e-36) expect(ratio).toBeLessThanOrEqual(1e-36);
      else {
        const error = Math.abs(ratio - expected);
        expect(error, JSON.stringify({ ...norms, learningRate })).toBeLessThanOrEqual(
          1e-6 * expected,
        );
      }
    });
  });
});

describe("clipping of the twin", () => {
  it.each(percentileClippings)(
    "percentile $percentile: the scale of each of $steps steps within 1e-6 (float32)",
    ({ percentile: index, norms, scales }) => {
      const clipOf = jit((history: np.Array, count: np.Array, norm: np.Array) => {
        const { scale, history: next } = clipToPercentile(
          history.reshape([1, 100]),
          count,
          norm.reshape([1]),
          index,
        );
        return [scale, next.reshape([100])];
      });
      let history: np.Array = np.zeros([100]);
      let core: Float64Array | null = null;
      norms.forEach((norm, step) => {
        const [factor, next] = clipOf(
          history,
          np.array(step, { dtype: np.int32 }),
          scalarOf(norm),
        ) as [np.Array, np.Array];
        history = next;
        const expected = percentile.clipToPercentile(core, step + 1, norm ** 2, index);
        core = expected.history;
        const scale = valueOf(factor);
        expect(Math.abs(scale - expected.scale)).toBeLessThanOrEqual(1e-6);
        expect(Math.abs(scale - scales[step]!)).toBeLessThanOrEqual(1e-6);
      });
      const kept = valuesOf(history);
      core!.forEach((squared, slot) => {
        expect(kept[slot]).toBeCloseTo(Math.sqrt(squared), 4);
      });
      history.dispose();
      clipOf.dispose();
    },
  );

  it.each([1e-42, 1e-35, 1, 1e35])(
    "percentile clipping of a norm of 4 · %s after one of 1",
    (unit) => {
      const history = arrayOf(new Float32Array(100).fill(unit), [1, 100]);
      const count = np.array(5, { dtype: np.int32 });
      const clip = clipToPercentile(history, count, arrayOf([4 * unit]), 50);
      // To the rounding of a denormal.
      expect(clip.scale.item()).toBeCloseTo(0.25, unit < 1e-38 ? 2 : 6);
      clip.history.dispose();
    },
  );

  it.each([0, 0.5, 1, 7, 1e30])("the global factor of norm %s within 1e-6", (norm) => {
    const expected = global.globalClipScale(norm, 1);
    const actual = valueOf(globalClipScale(scalarOf(norm), 1));
    expect(Math.abs(actual - expected)).toBeLessThanOrEqual(1e-6 * expected);
  });
});

describe("norms in float32: relative error < 1e-6", () => {
  it.each([
    ["one element", Float32Array.of(-3)],
    ["a run and one", randomArray(129, 1)],
    ["runs and a rest", randomArray(10_007, 6)],
    ["runs of runs", randomArray(300_007, 7)],
    ["100,000 elements", randomArray(100_000, 2)],
    ["squares that overflow", randomArray(1000, 3, { scale: 1e30 })],
    ["squares that vanish", randomArray(1000, 4, { scale: 1e-30 })],
    ["denormals", randomArray(1000, 5, { scale: 1e-40 })],
    ["zeros", new Float32Array(10)],
    ["one large among small", Float32Array.of(1e20, 1, 1e-20, 3)],
  ])("%s", (_, values) => {
    const expected = exactNorm(values);
    // jit folds constants into each other, which must not bring squares out of range.
    for (const norm of [normOf, jit(normOf)]) {
      const found = valueOf(norm(arrayOf(values)));
      expect(Math.abs(found - expected)).toBeLessThanOrEqual(1e-6 * expected + 1e-45);
    }
  });

  it.each([
    ["small numbers", [1, -2, 0], true],
    ["the largest and the smallest", [3.4e38, 1e-45], true],
    ["many of the largest", new Array<number>(5000).fill(3.4e38), true],
    ["NaN", [1, NaN], false],
    ["-Infinity", [-Infinity, 1], false],
    ["Infinity after 5,000 numbers", [...new Array<number>(5000).fill(1), Infinity], false],
  ])("finds finite or not: %s", (_, values, expected) => {
    const isFinite = (array: np.Array): np.Array => areFinite(finiteSum(array));
    const isSumFinite = (array: np.Array): np.Array => {
      const { sum, scale } = scaledSquares([[array]])[0]!;
      scale.dispose();
      return areFinite(sum);
    };
    for (const found of [isFinite, jit(isFinite), isSumFinite, jit(isSumFinite)]) {
      expect(valueOf(found(arrayOf(values)))).toBe(Number(expected));
    }
  });
});
