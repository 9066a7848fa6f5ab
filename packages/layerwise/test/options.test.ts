/** Every option does something, in the constructor and in a group. */
import { describe, expect, it } from "vitest";
import { LARS, LARS32bit, LARS8bit } from "../src/index.js";
import type { LARSOptions, Parameter } from "../src/index.js";
import { forEachKernel } from "./helpers/kernels.js";
import type { TestedKernel } from "./helpers/kernels.js";
import { expectSameBits, sameBits } from "./helpers/numbers.js";
import { gradientAt, parameterOf, runSteps } from "./helpers/problem.js";
import { randomArray } from "./helpers/random.js";

/** What all cases have in common: a rate that changes, momentum and weight decay. */
const common: LARSOptions = { lr: (step) => 0.1 * (step + 1), momentum: 0.9, weightDecay: 0.01 };

interface Case {
  option: string;
  /** Options of both runs, before those that differ. */
  both?: Partial<LARSOptions>;
  from: Partial<LARSOptions>;
  to: Partial<LARSOptions>;
}

const scaleGradient = { rule: "scale-gradient", coefficient: 0.02 } as const;
const scaleUpdate = { rule: "scale-update", coefficient: 0.02 } as const;
const eightBits = { optimBits: 8, min8bitSize: 1 } as const;

const cases: Case[] = [
  { option: "lr", from: { lr: 0.1 }, to: { lr: 0.2 } },
  { option: "lr: a schedule", from: { lr: 0.1 }, to: { lr: (step) => 0.1 * 0.5 ** step } },
  { option: "momentum", from: { momentum: 0.9 }, to: { momentum: 0.8 } },
  { option: "momentum: off", from: { momentum: 0.9 }, to: { momentum: 0 } },
  { option: "dampening", from: {}, to: { dampening: 0.3 } },
  { option: "weightDecay", from: { weightDecay: 0.01 }, to: { weightDecay: 0.02 } },
  { option: "weightDecay: off", from: { weightDecay: 0.01 }, to: { weightDecay: 0 } },
  { option: "nesterov", from: {}, to: { nesterov: true } },
  {
    option: "optimBits",
    both: { min8bitSize: 1 },
    from: { optimBits: 32 },
    to: { optimBits: 8 },
  },
  {
    option: "min8bitSize",
    both: { optimBits: 8 },
    from: { min8bitSize: 1 },
    to: { min8bitSize: 4096 },
  },
  { option: "percentileClipping", from: {}, to: { percentileClipping: 5 } },
  {
    option: "percentileClipping: another percentile",
    from: { percentileClipping: 99 },
    to: { percentileClipping: 1 },
  },
  { option: "maxUnorm", from: {}, to: { maxUnorm: 0.03 } },
  { option: "maxUnorm: off", from: {}, to: { maxUnorm: 0 } },
  { option: "maxGradNorm", both: { maxUnorm: 0 }, from: {}, to: { maxGradNorm: 1 } },
  {
    option: "maxGradNorm: another limit",
    both: { maxUnorm: 0 },
    from: { maxGradNorm: 2 },
    to: { maxGradNorm: 1 },
  },
  { option: "skipZeros", from: {}, to: { skipZeros: true } },
  { option: "trustRatio none", from: {}, to: { trustRatio: "none" } },
  { option: "trustRatio scale-gradient", from: {}, to: { trustRatio: "scale-gradient" } },
  { option: "trustRatio scale-update", from: {}, to: { trustRatio: "scale-update" } },
  {
    option: "trustRatio clip-update",
    from: { trustRatio: "none" },
    to: { trustRatio: "clip-update" },
  },
  {
    option: "clip-update: maxUnorm",
    from: {},
    to: { trustRatio: { rule: "clip-update", maxUnorm: 0.03 } },
  },
  {
    option: "clip-update: whenZero",
    from: {},
    to: { trustRatio: { rule: "clip-update", whenZero: "freeze" } },
  },
  {
    option: "scale-gradient: coefficient",
    from: { trustRatio: scaleGradient },
    to: { trustRatio: { ...scaleGradient, coefficient: 0.03 } },
  },
  {
    option: "scale-gradient: eps",
    from: { trustRatio: scaleGradient },
    to: { trustRatio: { ...scaleGradient, eps: 1 } },
  },
  {
    option: "scale-gradient: denominator joint",
    from: { trustRatio: scaleGradient },
    to: { trustRatio: { ...scaleGradient, denominator: "joint" } },
  },
  {
    option: "scale-gradient: denominator gradient",
    from: { trustRatio: scaleGradient },
    to: { trustRatio: { ...scaleGradient, denominator: "gradient" } },
  },
  {
    option: "scale-gradient: clip",
    both: { lr: 0.001 },
    from: { trustRatio: scaleGradient },
    to: { trustRatio: { ...scaleGradient, clip: true } },
  },
  {
    option: "scale-gradient: momentumOrder",
    from: { trustRatio: scaleGradient },
    to: { trustRatio: { ...scaleGradient, momentumOrder: "torch" } },
  },
  {
    option: "scale-gradient: whenZero",
    from: { trustRatio: scaleGradient },
    to: { trustRatio: { ...scaleGradient, whenZero: "freeze" } },
  },
  {
    option: "scale-update: coefficient",
    from: { trustRatio: scaleUpdate },
    to: { trustRatio: { ...scaleUpdate, coefficient: 0.03 } },
  },
  {
    option: "scale-update: eps",
    from: { trustRatio: scaleUpdate },
    to: { trustRatio: { ...scaleUpdate, eps: 1 } },
  },
  {
    option: "scale-update: whenZero",
    from: { trustRatio: scaleUpdate },
    to: { trustRatio: { ...scaleUpdate, whenZero: "freeze" } },
  },
  { option: "args: optimBits", both: { min8bitSize: 1 }, from: {}, to: { args: { optimBits: 8 } } },
  {
    option: "args: min8bitSize",
    both: { optimBits: 8 },
    from: {},
    to: { args: { min8bitSize: 1 } },
  },
  {
    option: "args: percentileClipping",
    from: {},
    to: { args: { percentileClipping: 5 } },
  },
  { option: "args: maxUnorm", from: {}, to: { args: { maxUnorm: 0.03 } } },
  { option: "args: skipZeros", from: {}, to: { args: { skipZeros: true } } },
];

/** Two layers that learn, and one at zero, where whenZero shows; gradients with zeros, for skipZeros. */
function layers(seed: number): Parameter[] {
  return [randomArray(300, seed), randomArray(513, seed + 1), new Float32Array(20)].map((values) =>
    parameterOf(values),
  );
}

const ZEROS = { zeros: 0.2 };

function weightsOf(params: readonly Parameter[]): Float32Array {
  return Float32Array.from(params.flatMap(({ data }) => [...data]));
}

/** Weights after four steps with one set of options. */
function weightsAfter(options: LARSOptions, { options: kernel }: TestedKernel): Float32Array[] {
  const [first, second] = [layers(1), layers(10)];
  const optimizer = new LARS([...first, ...second], options, kernel);
  runSteps(optimizer, [...first, ...second], 4, ZEROS);
  return [weightsOf(first), weightsOf(second)];
}

describe("changing an option changes the result", () => {
  forEachKernel((kernel) => {
    it.each(cases)("$option", ({ both = {}, from, to }) => {
      const before = weightsAfter({ ...common, ...both, ...from }, kernel);
      const again = weightsAfter({ ...common, ...both, ...from }, kernel);
      const after = weightsAfter({ ...common, ...both, ...to }, kernel);
      before.forEach((weights, group) => {
        expectSameBits(again[group]!, weights, "the same options");
        expect(sameBits(after[group]!, weights)).toBe(false);
      });
    });

    it.each(cases)("$option, set in a group: in that group alone", ({ both = {}, from, to }) => {
      const base = { ...common, ...both, ...from };
      const [unchanged] = weightsAfter(base, kernel);
      const [, changed] = weightsAfter({ ...common, ...both, ...to }, kernel);
      const [first, second] = [layers(1), layers(10)];
      const optimizer = new LARS(
        [{ params: first }, { params: second, ...to }],
        base,
        kernel.options,
      );
      runSteps(optimizer, [...first, ...second], 4, ZEROS);
      expectSameBits(weightsOf(first), unchanged!, "the other group");
      expectSameBits(weightsOf(second), changed!, "the group");
    });

    it.each(cases)("$option, in a group that is added later", ({ both = {}, from, to }) => {
      const [, changed] = weightsAfter({ ...common, ...both, ...to }, kernel);
      const [first, second] = [layers(1), layers(10)];
      const optimizer = new LARS(first, { ...common, ...both, ...from }, kernel.options);
      optimizer.addParamGroup({ params: second, ...to });
      runSteps(optimizer, [...first, ...second], 4, ZEROS);
      expectSameBits(weightsOf(second), changed!, "the group");
    });

    it("nonFinite: throw or skip", () => {
      const parameter = parameterOf([1], { grad: [NaN] });
      const throwing = new LARS([parameter], { lr: 1 }, kernel.options);
      const skipping = new LARS([parameter], { lr: 1, nonFinite: "skip" }, kernel.options);
      expect(() => throwing.step()).toThrow(/NaN/);
      expect(skipping.step().skipped).toBe(true);
      const group = { params: [parameter], nonFinite: "skip" } as const;
      expect(new LARS([group], { lr: 1 }, kernel.options).step().skipped).toBe(true);
    });

    it("gradScale", () => {
      const weights = [1, 0.5].map((gradScale) => {
        const parameter = parameterOf([1], { grad: [1] });
        const optimizer = new LARS([parameter], { lr: 1, trustRatio: "none" }, kernel.options);
        optimizer.step({ gradScale });
        return parameter.data[0];
      });
      expect(weights).toEqual([0, 0.5]);
    });
  });
});

describe("defaults", () => {
  forEachKernel((kernel) => {
    it("are those of the specification", () => {
      const defaults: LARSOptions = {
        lr: 0.1,
        momentum: 0,
        dampening: 0,
        weightDecay: 0,
        nesterov: false,
        optimBits: 32,
        args: null,
        min8bitSize: 4096,
        percentileClipping: 100,
        maxUnorm: 0.02,
        maxGradNorm: null,
        skipZeros: false,
        nonFinite: "throw",
      };
      const given = weightsAfter(defaults, kernel);
      weightsAfter({ lr: 0.1 }, kernel).forEach((weights, group) => {
        expectSameBits(weights, given[group]!);
      });
      const [group] = new LARS(layers(1), { lr: 0.1 }).paramGroups;
      const { args, maxUnorm, ...live } = defaults;
      expect(args).toBeNull();
      expect(group).toMatchObject(live);
      expect(group!.maxUnorm).toBe(maxUnorm);
    });

    it.each([
      ["clip-update", { maxUnorm: 0.02, whenZero: "unit" }],
      [
        "scale-gradient",
        {
          coefficient: 0.001,
          eps: 0,
          denominator: "sum",
          clip: false,
          momentumOrder: "classic",
          whenZero: "unit",
        },
      ],
      ["scale-update", { coefficient: 0.001, eps: 0, whenZero: "unit" }],
      ["none", {}],
    ] as const)("of the rule %s are those of the specification", (rule, fields) => {
      const optimizer = new LARS(layers(1), { lr: 0.1, trustRatio: rule }, kernel.options);
      expect(optimizer.paramGroups[0]!.trustRatio).toEqual({ rule, ...fields });
    });
  });

  it("hold for what is undefined", () => {
    const options = { lr: 0.1, momentum: undefined, args: undefined, trustRatio: undefined };
    const optimizer = new LARS(layers(1), options as unknown as LARSOptions);
    expect(optimizer.paramGroups[0]).toMatchObject({ momentum: 0, maxUnorm: 0.02 });
  });
});

describe("args", () => {
  it("goes before the options of the same names, which it leaves as they are", () => {
    const options: LARSOptions = {
      lr: 0.1,
      optimBits: 32,
      percentileClipping: 100,
      min8bitSize: 4096,
      maxUnorm: 0.02,
      skipZeros: false,
      args: {
        optimBits: 8,
        percentileClipping: 7,
        min8bitSize: 100,
        maxUnorm: 0.5,
        skipZeros: true,
      },
    };
    const copy = structuredClone(options);
    const [group] = new LARS(layers(1), options).paramGroups;
    expect(group).toMatchObject(options.args!);
    expect(group!.maxUnorm).toBe(0.5);
    expect(options).toEqual(copy);
  });

  it("null and {} override nothing", () => {
    for (const args of [null, {}]) {
      const [group] = new LARS(layers(1), { lr: 0.1, skipZeros: true, args }).paramGroups;
      expect(group!.skipZeros).toBe(true);
    }
  });
});

describe("groups", () => {
  it("inherit what they leave out, and a group's rule replaces the inherited one", () => {
    const [a, b, c] = layers(1);
    const optimizer = new LARS(
      [
        { params: [a!] },
        { params: [b!], trustRatio: "none", weightDecay: 0 },
        { params: [c!], maxUnorm: 0.5 },
      ],
      { lr: 0.1, momentum: 0.5, weightDecay: 0.25, trustRatio: scaleGradient },
    );
    const [first, second, third] = optimizer.paramGroups;
    expect(first).toMatchObject({ lr: 0.1, momentum: 0.5, weightDecay: 0.25 });
    expect(first!.trustRatio).toMatchObject(scaleGradient);
    expect(second).toMatchObject({ momentum: 0.5, weightDecay: 0 });
    expect(second!.trustRatio).toEqual({ rule: "none" });
    expect(third!.trustRatio).toEqual({ rule: "clip-update", maxUnorm: 0.5, whenZero: "unit" });
  });

  it("can be given again, whole or as a copy with changes, and keep their rule", () => {
    const [a, b, c] = layers(1);
    const { paramGroups } = new LARS([a!], { lr: 0.1, momentum: 0.5, trustRatio: scaleGradient });
    const [given] = new LARS(paramGroups, { lr: 1 }).paramGroups;
    const optimizer = new LARS([b!], { lr: 1 });
    optimizer.addParamGroup(Object.assign({}, paramGroups[0]!, { params: [c!], lr: 0.2 }));
    const [, copied] = optimizer.paramGroups;
    expect(given).toMatchObject({ lr: 0.1, momentum: 0.5, trustRatio: scaleGradient });
    expect(copied).toMatchObject({ lr: 0.2, momentum: 0.5, trustRatio: scaleGradient });
    copied!.trustRatio = "none";
    expect(copied!.trustRatio).toEqual({ rule: "none" });
    expect(paramGroups[0]!.trustRatio).toMatchObject(scaleGradient);
  });

  it("keep their parameters in order, and take any iterable of them", () => {
    const params = layers(1);
    const optimizer = new LARS(new Set(params) as unknown as Parameter[], { lr: 0.1 });
    expect(optimizer.paramGroups[0]!.params).toEqual(params);
  });
});

describe("LARS8bit and LARS32bit are LARS with the bits fixed", () => {
  forEachKernel((kernel) => {
    it.each([
      { Fixed: LARS8bit, optimBits: 8 },
      { Fixed: LARS32bit, optimBits: 32 },
    ] as const)("$optimBits bits: the same bits as LARS", ({ Fixed, optimBits }) => {
      const [params, twins] = [layers(1), layers(1)];
      const options: LARSOptions = { ...common, min8bitSize: 1, nesterov: true };
      const optimizer = new Fixed(params, options, kernel.options);
      const twin = new LARS(twins, { ...options, optimBits }, kernel.options);
      runSteps(optimizer, params, 4);
      runSteps(twin, twins, 4);
      expectSameBits(weightsOf(params), weightsOf(twins));
      expect(optimizer.stateBytes).toBe(twin.stateBytes);
      expect(optimizer).toBeInstanceOf(LARS);
    });
  });

  it("may be given their own bits again, and under LARS8bit a group may keep 32", () => {
    const [a, b] = layers(1);
    expect(() => new LARS8bit([a!], { lr: 1, optimBits: 8, args: { optimBits: 8 } })).not.toThrow();
    expect(() => new LARS32bit([a!], { lr: 1, optimBits: 32 })).not.toThrow();
    const optimizer = new LARS8bit([{ params: [a!] }, { params: [b!], optimBits: 32 }], {
      lr: 0.1,
      momentum: 0.9,
      min8bitSize: 1,
    });
    a!.grad = gradientAt(0, 0, a!.size);
    b!.grad = gradientAt(0, 1, b!.size);
    optimizer.step();
    const kinds = optimizer.stateDict().layers.map(({ momentum }) => momentum?.kind);
    expect(kinds).toEqual(["blockwise", "float32"]);
  });
});

describe("8-bit state", () => {
  forEachKernel((kernel) => {
    const variants: Partial<LARSOptions>[] = [
      { trustRatio: scaleGradient },
      { trustRatio: { rule: "scale-update", coefficient: 0.05 } },
      { trustRatio: "none" },
      { maxUnorm: 0.05 },
      { nesterov: true },
      { dampening: 0.3 },
      { weightDecay: 0.1 },
      { percentileClipping: 5 },
      { maxGradNorm: 1, maxUnorm: 0 },
      { skipZeros: true },
    ];
    it.each(variants)("works the same with 8 bits as with 32: %j", (variant) => {
      const base = weightsAfter({ ...common, ...eightBits }, kernel);
      const changed = weightsAfter({ ...common, ...eightBits, ...variant }, kernel);
      const wide = weightsAfter({ ...common, ...variant }, kernel);
      changed.forEach((weights, group) => {
        expect(sameBits(weights, base[group]!)).toBe(false);
        // Close to 32 bits, so that it is the option that made the difference.
        const distance = Math.max(...weights.map((value, i) => Math.abs(value - wide[group]![i]!)));
        const largest = Math.max(...wide[group]!.map(Math.abs));
        expect(distance / largest).toBeLessThan(0.05);
      });
    });
  });
});
