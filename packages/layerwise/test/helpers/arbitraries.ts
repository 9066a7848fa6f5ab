/** What fast-check draws options and layers from. */
import fc from "fast-check";
import type { LARSOptions, Parameter } from "../../src/index.js";
import { parameterOf } from "./problem.js";
import { randomArray } from "./random.js";

/**
 * The same cases on every run, so that a failure is one of the change at hand; `FC_SEED=… npx vitest` draws
 * others.
 */
export function runs(numRuns: number): fc.Parameters<unknown> {
  return { numRuns, seed: Number(process.env.FC_SEED ?? 20170813) };
}

export function between(min: number, max: number): fc.Arbitrary<number> {
  return fc.double({ min, max, noNaN: true });
}

function sometimes<Value, Off>(value: fc.Arbitrary<Value>, off: Off): fc.Arbitrary<Value | Off> {
  return fc.oneof(fc.constant(off), value);
}

const whenZero = fc.constantFrom("unit" as const, "freeze" as const);

export const clipUpdate = fc.record({
  rule: fc.constant("clip-update" as const),
  maxUnorm: sometimes(between(0.001, 0.5), 0),
  whenZero,
});

export const scaleGradient = fc.record({
  rule: fc.constant("scale-gradient" as const),
  coefficient: between(0.0005, 0.05),
  eps: sometimes(between(1e-8, 1), 0),
  denominator: fc.constantFrom("sum" as const, "joint" as const, "gradient" as const),
  clip: fc.boolean(),
  momentumOrder: fc.constantFrom("classic" as const, "torch" as const),
  whenZero,
});

export const scaleUpdate = fc.record({
  rule: fc.constant("scale-update" as const),
  coefficient: between(0.0005, 0.05),
  eps: sometimes(between(1e-8, 1), 0),
  whenZero,
});

export const noRule = fc.constant({ rule: "none" as const });

export const anyRule = fc.oneof(clipUpdate, scaleGradient, scaleUpdate, noRule);

/** A rule with all its fields. */
export type DrawnRule = typeof anyRule extends fc.Arbitrary<infer Rule> ? Rule : never;

/** Options with all that may be drawn. */
export type DrawnOptions<Rule = DrawnRule> = Required<
  Pick<
    LARSOptions,
    | "momentum"
    | "dampening"
    | "weightDecay"
    | "nesterov"
    | "percentileClipping"
    | "maxGradNorm"
    | "skipZeros"
  >
> & { lr: number; trustRatio: Rule };

/** Options that may stand together, with a rule of the given ones. */
export function optionsWith<Rule extends DrawnRule>(
  rule: fc.Arbitrary<Rule>,
): fc.Arbitrary<DrawnOptions<Rule>> {
  return fc
    .record({
      lr: between(1e-4, 2),
      momentum: sometimes(between(0.1, 0.99), 0),
      dampening: sometimes(between(0.01, 0.9), 0),
      weightDecay: sometimes(between(1e-5, 0.1), 0),
      nesterov: fc.boolean(),
      trustRatio: rule,
      percentileClipping: sometimes(fc.integer({ min: 1, max: 99 }), 100),
      maxGradNorm: sometimes(between(0.1, 100), null),
      skipZeros: fc.boolean(),
    })
    .map((options) => {
      const { trustRatio } = options;
      const isClassic =
        trustRatio.rule === "scale-gradient" && trustRatio.momentumOrder === "classic";
      const nesterov = options.nesterov && options.momentum > 0;
      return {
        ...options,
        nesterov,
        dampening: nesterov || isClassic ? 0 : options.dampening,
      };
    });
}

/** A layer by its size and the seed and scales of its values: what shrinks, in place of its elements. */
export interface LayerShape {
  size: number;
  seed: number;
  weightScale: number;
  gradientScale: number;
  /** The part of the gradient that is 0. */
  zeros: number;
}

/** Sizes up to several chunks of 32,768, mostly small, with and without partial blocks. */
export const anySize = fc.oneof(
  { arbitrary: fc.integer({ min: 1, max: 700 }), weight: 8 },
  { arbitrary: fc.integer({ min: 1, max: 20 }).map((blocks) => 256 * blocks), weight: 2 },
  { arbitrary: fc.integer({ min: 1, max: 5000 }), weight: 4 },
  { arbitrary: fc.integer({ min: 32_000, max: 70_000 }), weight: 1 },
  { arbitrary: fc.constantFrom(32_768, 65_536), weight: 1 },
);

const powerOfTen = (most: number): fc.Arbitrary<number> =>
  fc.integer({ min: -most, max: most }).map((exponent) => 10 ** exponent);

export function layerOf(size: fc.Arbitrary<number> = anySize): fc.Arbitrary<LayerShape> {
  return fc.record({
    size,
    seed: fc.integer({ min: 0, max: 2 ** 30 }),
    weightScale: powerOfTen(3),
    gradientScale: powerOfTen(4),
    zeros: fc.constantFrom(0, 0, 0.3, 0.95),
  });
}

export const anyLayers = fc.array(layerOf(), { minLength: 1, maxLength: 3 });

export function weightsOf({ size, seed, weightScale }: LayerShape): Float32Array {
  return randomArray(size, seed, { scale: weightScale });
}

/** The gradient of a layer at a step, a constant times what it would be. */
export function gradientOf(
  { size, seed, gradientScale, zeros }: LayerShape,
  step: number,
  factor = 1,
): Float32Array {
  return randomArray(size, seed + 7919 * (step + 1), { scale: factor * gradientScale, zeros });
}

/** New parameters on ordinary arrays. */
export function parametersOf(layers: readonly LayerShape[]): Parameter[] {
  return layers.map((layer, index) => parameterOf(weightsOf(layer), { name: `layer ${index}` }));
}

export function setGradients(
  params: readonly Parameter[],
  layers: readonly LayerShape[],
  step: number,
  factor = 1,
): void {
  params.forEach((parameter, index) => {
    parameter.grad = gradientOf(layers[index]!, step, factor);
  });
}
