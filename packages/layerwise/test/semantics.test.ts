/** What a step computes, line by line of the specification. */
import { describe, expect, it } from "vitest";
import { LARS, LARS32bit, LARS8bit, NonFiniteGradientError, Parameter } from "../src/index.js";
import type { LARSOptions, LayerReport, TrustRatio } from "../src/index.js";
import { forEachKernel } from "./helpers/kernels.js";
import { expectSameBits, largestMagnitude, normOf, relativeDifference } from "./helpers/numbers.js";
import {
  blockwiseMomentum,
  expectSameSnapshot,
  float32Momentum,
  gradientAt,
  parameterOf,
  randomParameters,
  runSteps,
  snapshotOf,
} from "./helpers/problem.js";
import { randomArray } from "./helpers/random.js";
import { plainLayer, plainStep } from "./helpers/straight-line.js";
import type { PlainOptions, PlainReport } from "./helpers/straight-line.js";

const TOLERANCE = 2e-6;

const scaleGradient = {
  rule: "scale-gradient",
  coefficient: 0.02,
  eps: 0,
  denominator: "sum",
  clip: false,
  momentumOrder: "classic",
  whenZero: "unit",
} as const;

const rules: TrustRatio[] = [
  { rule: "none" },
  { rule: "clip-update", maxUnorm: 0, whenZero: "freeze" },
  { rule: "clip-update", maxUnorm: 0.02, whenZero: "unit" },
  { rule: "clip-update", maxUnorm: 10, whenZero: "freeze" },
  { rule: "scale-update", coefficient: 0.02, eps: 0, whenZero: "unit" },
  { rule: "scale-update", coefficient: 0.02, eps: 0.5, whenZero: "freeze" },
  ...(["sum", "joint", "gradient"] as const).flatMap((denominator) =>
    (["classic", "torch"] as const).flatMap((momentumOrder) => [
      { ...scaleGradient, denominator, momentumOrder },
      { ...scaleGradient, denominator, momentumOrder, clip: true, eps: 0.1 },
      { ...scaleGradient, denominator, momentumOrder, whenZero: "freeze" as const },
    ]),
  ),
];

const plain = {
  momentum: 0,
  dampening: 0,
  weightDecay: 0,
  nesterov: false,
  percentileClipping: 100,
  skipZeros: false,
  maxGradNorm: null,
};

const variants = {
  "no momentum": {},
  "no momentum, weight decay": { weightDecay: 0.01 },
  momentum: { momentum: 0.9 },
  "momentum, weight decay": { momentum: 0.9, weightDecay: 0.01 },
  "momentum, weight decay, dampening": { momentum: 0.9, weightDecay: 0.01, dampening: 0.3 },
  "nesterov, weight decay": { momentum: 0.9, weightDecay: 0.01, nesterov: true },
  "momentum, weight decay, skipZeros": { momentum: 0.9, weightDecay: 0.01, skipZeros: true },
  "nesterov, weight decay, percentile and global clipping": {
    momentum: 0.9,
    weightDecay: 0.01,
    nesterov: true,
    percentileClipping: 5,
    maxGradNorm: 30,
  },
  "momentum, weight decay, all clipping, skipZeros": {
    momentum: 0.8,
    weightDecay: 0.001,
    percentileClipping: 20,
    maxGradNorm: 100,
    skipZeros: true,
  },
};

function inWords({ rule, ...fields }: TrustRatio): string {
  return [rule, ...Object.entries(fields).map(([name, value]) => `${name} ${value}`)].join(" ");
}

/** 1.5, 0.6, … : a rate that changes, above and below the ratios. */
const rate = (step: number): number => [1.5, 0.6, 0.01, 0, 3, 0.2][step % 6]!;

describe("a step is what the specification says, in float64, to 2e-6 of a layer's scale (float32 storage and sums)", () => {
  forEachKernel(({ options: kernelOptions }) => {
    describe.each(rules.map((rule) => ({ rule, words: inWords(rule) })))("$words", ({ rule }) => {
      const isClassic = rule.rule === "scale-gradient" && rule.momentumOrder === "classic";
      const allowed = Object.entries(variants).filter(
        ([, variant]) => !("dampening" in variant && isClassic),
      );
      it.each(allowed)("%s", (_, variant) => {
        const options = { ...plain, ...variant };
        compareWithPlain({ ...options, trustRatio: rule }, kernelOptions);
      });
    });
  });
});

/** Steps a kernel and the straight-line implementation beside each other. */
function compareWithPlain(
  options: Omit<PlainOptions, "lr">,
  kernelOptions: ConstructorParameters<typeof LARS>[2],
): void {
  const params = [
    ...randomParameters(5, [300, 7]),
    parameterOf(new Float32Array(33), { name: "at zero" }),
    parameterOf(randomArray(20, 3), { name: "without gradient" }),
  ];
  const optimizer = new LARS(params, { ...options, lr: rate }, kernelOptions);
  const layers = params.map(({ data }) => plainLayer(data));
  for (let step = 0; step < 6; step++) {
    const before = params.map(({ data }) => largestMagnitude(data));
    params.forEach((parameter, layer) => {
      const zeros = options.skipZeros ? 0.3 : 0;
      parameter.grad =
        layer === 3
          ? new Float32Array(parameter.size)
          : gradientAt(step, layer, parameter.size, { zeros });
    });
    const expected = plainStep(
      layers.map((layer, index) => ({
        layer,
        gradient: params[index]!.grad!,
        options: { ...options, lr: rate(step) },
      })),
      0.5,
    );
    const report = optimizer.step({ gradScale: 0.5 });
    compareReports(report.layers, expected);
    const { layers: states } = optimizer.stateDict();
    layers.forEach((layer, index) => {
      const { data } = params[index]!;
      const scale = Math.max(before[index]!, largestMagnitude(layer.weights));
      expect(relativeDifference(data, layer.weights, scale)).toBeLessThanOrEqual(TOLERANCE);
      const momentum = states[index]!.momentum;
      if (layer.momentum === null || momentum?.kind !== "float32") {
        expect(momentum).toBe(layer.momentum);
      } else {
        expect(relativeDifference(momentum.values, layer.momentum)).toBeLessThanOrEqual(TOLERANCE);
      }
      const history = states[index]!.gradientHistory;
      if (layer.history === null || history === null) expect(history).toBe(layer.history);
      else expect(relativeDifference(history, layer.history)).toBeLessThanOrEqual(TOLERANCE);
    });
  }
}

function compareReports(actual: readonly LayerReport[], expected: readonly PlainReport[]): void {
  expected.forEach((report, index) => {
    for (const [field, value] of Object.entries(report) as [keyof PlainReport, number][]) {
      const difference = Math.abs(actual[index]![field] - value);
      expect(difference, field).toBeLessThanOrEqual(TOLERANCE * value);
    }
  });
}

describe("zero norms", () => {
  const zeroRules = [
    { rule: "clip-update", maxUnorm: 0.02 },
    { rule: "scale-gradient", momentumOrder: "classic" },
    { rule: "scale-gradient", momentumOrder: "torch" },
    { rule: "scale-update" },
  ] as const;

  forEachKernel(({ options }) => {
    it.each(zeroRules)("$rule: a layer at zero learns (whenZero unit, the default)", (rule) => {
      const parameter = parameterOf([0, 0, 0], { grad: [1, -2, 0.5] });
      const report = new LARS([parameter], { lr: 0.5, trustRatio: rule }, options).step();
      expect([...parameter.data]).toEqual([-0.5, 1, -0.25]);
      expect(report.layers[0]!.trustRatio).toBe(1);
    });

    it.each(zeroRules)("$rule: a layer at zero stays there under whenZero freeze", (rule) => {
      const parameter = parameterOf([0, 0, 0], { grad: [1, -2, 0.5] });
      const trustRatio = { ...rule, whenZero: "freeze" as const };
      const optimizer = new LARS([parameter], { lr: 0.5, momentum: 0.9, trustRatio }, options);
      for (let step = 0; step < 3; step++) {
        expect(optimizer.step().layers[0]!.trustRatio).toBe(0);
        expect([...parameter.data]).toEqual([0, 0, 0]);
      }
    });

    it.each(zeroRules)("$rule: a zero gradient is a zero denominator and moves nothing", (rule) => {
      const parameter = parameterOf([1, -2, 3], { grad: [0, 0, 0] });
      const report = new LARS([parameter], { lr: 0.5, trustRatio: rule }, options).step();
      expect([...parameter.data]).toEqual([1, -2, 3]);
      expect(report.layers[0]).toMatchObject({ gradNorm: 0, updateNorm: 0, trustRatio: 1 });
      const freeze = { ...rule, whenZero: "freeze" as const };
      const frozen = new LARS([parameter], { lr: 0.5, trustRatio: freeze }, options).step();
      expect(frozen.layers[0]!.trustRatio).toBe(0);
    });

    it("a zero gradient still lets momentum and weight decay act", () => {
      const parameter = parameterOf([1, -2], { grad: [1, 1] });
      const optimizer = new LARS(
        [parameter],
        { lr: 0.5, momentum: 0.5, weightDecay: 0.25, trustRatio: "none" },
        options,
      );
      optimizer.step(); // d = m = (1.25, 0.5)
      expect([...parameter.data]).toEqual([0.375, -2.25]);
      optimizer.zeroGrad();
      optimizer.step(); // m = (0.625 + 0.09375, 0.25 − 0.5625)
      expect([...parameter.data]).toEqual([0.375 - 0.359375, -2.25 + 0.15625]);
    });

    it("eps alone is no zero denominator", () => {
      const trustRatio = { rule: "scale-gradient", eps: 0.5, coefficient: 0.25 } as const;
      const parameter = parameterOf([3, 4], { grad: [0, 0] });
      const report = new LARS([parameter], { lr: 1, trustRatio }, options).step();
      expect(report.layers[0]!.trustRatio).toBe(2.5);
    });
  });
});

describe("scale-gradient's clip: the effective rate is min(γ, r)", () => {
  forEachKernel(({ options }) => {
    it.each([
      { lr: 2, coefficient: 0.5, effective: 0.5 },
      { lr: 2, coefficient: 8, effective: 2 },
      { lr: 0.25, coefficient: 0.5, effective: 0.25 },
      { lr: 0.25, coefficient: 0.125, effective: 0.125 },
      { lr: 0, coefficient: 0.5, effective: 0 },
    ])("γ $lr, r $coefficient: $effective", ({ lr, coefficient, effective }) => {
      for (const momentumOrder of ["classic", "torch"] as const) {
        // ‖w‖ = ‖g‖ = 5, so r = coefficient.
        const parameter = parameterOf([3, 4], { grad: [-4, 3] });
        const trustRatio = {
          rule: "scale-gradient",
          coefficient,
          clip: true,
          momentumOrder,
        } as const;
        new LARS([parameter], { lr, trustRatio }, options).step();
        expect([...parameter.data]).toEqual([3 + 4 * effective, 4 - 3 * effective]);
      }
    });
  });
});

describe("a changing γ", () => {
  forEachKernel(({ options }) => {
    it("classic: the momentum holds γ·r·d of the rate it was made with", () => {
      const parameter = parameterOf([4], { grad: [1] });
      const trustRatio = { rule: "scale-gradient", coefficient: 0.25 } as const;
      const lr = (step: number): number => [0.5, 0.125][step]!;
      const optimizer = new LARS([parameter], { lr, momentum: 0.5, trustRatio }, options);
      optimizer.step(); // r = 1: m = 0.5
      expect(parameter.data[0]).toBe(3.5);
      optimizer.step(); // r = 0.875: m = 0.25 + 0.125 · 0.875
      expect(parameter.data[0]).toBe(3.5 - 0.25 - 0.109375);
    });

    it("torch: γ multiplies the whole momentum", () => {
      const parameter = parameterOf([4], { grad: [1] });
      const trustRatio = {
        rule: "scale-gradient",
        coefficient: 0.25,
        momentumOrder: "torch",
      } as const;
      const lr = (step: number): number => [0.5, 0.125][step]!;
      const optimizer = new LARS([parameter], { lr, momentum: 0.5, trustRatio }, options);
      optimizer.step(); // r = 1: m = 1
      expect(parameter.data[0]).toBe(3.5);
      optimizer.step(); // r = 0.875: m = 0.5 + 0.875
      expect(parameter.data[0]).toBe(3.5 - 0.125 * 1.375);
    });

    it("is taken from the schedule by the optimizer's step, counted from 0", () => {
      const parameter = parameterOf([0], { grad: [1] });
      const asked: number[] = [];
      const lr = (step: number): number => {
        asked.push(step);
        return step;
      };
      const optimizer = new LARS([parameter], { lr, trustRatio: "none" }, options);
      expect([0, 1, 2].map(() => optimizer.step().lr)).toEqual([0, 1, 2]);
      expect(asked).toEqual([0, 1, 2]);
      expect(parameter.data[0]).toBe(-3);
    });
  });
});

describe("momentum", () => {
  forEachKernel(({ options }) => {
    it("0 keeps no state, with 32 and with 8 bits", () => {
      for (const optimBits of [32, 8] as const) {
        const params = randomParameters();
        const optimizer = new LARS(params, { lr: 0.1, optimBits, min8bitSize: 1 }, options);
        runSteps(optimizer, params, 2);
        expect(optimizer.stateBytes).toBe(0);
        expect(optimizer.stateDict().layers.map(({ momentum }) => momentum)).toEqual([
          null,
          null,
          null,
        ]);
      }
    });

    it("is the direction on a layer's first step, without dampening, and dampened from the second", () => {
      const parameter = parameterOf([0], { grad: [1] });
      const optimizer = new LARS(
        [parameter],
        { lr: 1, momentum: 0.5, dampening: 0.75, trustRatio: "none" },
        options,
      );
      optimizer.step();
      expect([...float32Momentum(optimizer)]).toEqual([1]);
      optimizer.step();
      expect([...float32Momentum(optimizer)]).toEqual([0.75]);
      expect(parameter.data[0]).toBe(-1.75);
    });

    it("counts the first step by layer: a layer that joins late is not dampened then", () => {
      const early = parameterOf([0], { grad: [1] });
      const late = parameterOf([0]);
      const optimizer = new LARS(
        [early, late],
        { lr: 1, momentum: 0.5, dampening: 0.5, trustRatio: "none" },
        options,
      );
      optimizer.step();
      late.grad = Float32Array.of(1);
      optimizer.step();
      expect([...float32Momentum(optimizer, 0)]).toEqual([1]);
      expect([...float32Momentum(optimizer, 1)]).toEqual([1]);
      expect(optimizer.stateDict().layers.map(({ step }) => step)).toEqual([2, 1]);
    });

    it("with Nesterov looks ahead: u = d + μ·m", () => {
      const parameter = parameterOf([0], { grad: [1] });
      const optimizer = new LARS(
        [parameter],
        { lr: 1, momentum: 0.5, nesterov: true, trustRatio: "none" },
        options,
      );
      optimizer.step(); // m = 1, u = 1.5
      expect(parameter.data[0]).toBe(-1.5);
      optimizer.step(); // m = 1.5, u = 1.75
      expect(parameter.data[0]).toBe(-3.25);
    });
  });
});

describe("skipZeros", () => {
  forEachKernel(({ options }) => {
    it("leaves weight and momentum alone where the gradient is ±0, and counts 0 in ‖u‖", () => {
      const parameter = parameterOf([1, 2, 3, 4, 5], { grad: [1, 1, 1, 1, 1] });
      const optimizer = new LARS(
        [parameter],
        { lr: 0.5, momentum: 0.5, weightDecay: 0.5, skipZeros: true, trustRatio: "none" },
        options,
      );
      optimizer.step();
      const weights = [...parameter.data];
      const momentum = [...float32Momentum(optimizer)];
      parameter.grad = Float32Array.of(0, 1, -0, 1, 0);
      const report = optimizer.step();
      for (const index of [0, 2, 4]) {
        expect(parameter.data[index]).toBe(weights[index]);
        expect(float32Momentum(optimizer)[index]).toBe(momentum[index]);
      }
      const updates = [1, 3].map((index) => {
        const update = 0.5 * momentum[index]! + 1 + 0.5 * weights[index]!;
        expect(parameter.data[index]).toBe(Math.fround(weights[index]! - 0.5 * update));
        return update;
      });
      expect(report.layers[0]!.updateNorm).toBeCloseTo(normOf(updates), 6);
    });

    it("makes ‖u‖, and with it clip-update's ratio, that of the other elements", () => {
      const weights = [3, 4, 0, 0];
      const parameter = parameterOf(weights, { grad: [0, 0, 6, 8] });
      const report = new LARS(
        [parameter],
        { lr: 1, weightDecay: 1, skipZeros: true, maxUnorm: 0.5 },
        options,
      ).step();
      expect(report.layers[0]).toMatchObject({ weightNorm: 5, updateNorm: 10, trustRatio: 0.25 });
      expect([...parameter.data]).toEqual([3, 4, -1.5, -2]);
    });

    it("leaves a block of 256 codes alone whose gradient is all zero", () => {
      const parameter = parameterOf(randomArray(700, 1));
      const optimizer = new LARS(
        [parameter],
        { lr: 0.1, momentum: 0.9, optimBits: 8, min8bitSize: 1, skipZeros: true },
        options,
      );
      parameter.grad = randomArray(700, 2);
      optimizer.step();
      const before = blockwiseMomentum(optimizer);
      for (let step = 0; step < 5; step++) {
        parameter.grad = randomArray(700, 3 + step);
        parameter.grad.fill(0, 256, 512);
        optimizer.step();
      }
      const after = blockwiseMomentum(optimizer);
      expectSameBits(after.codes.slice(256, 512), before.codes.slice(256, 512), "codes");
      expect(after.absmax[1]).toBe(before.absmax[1]);
      expect(after.absmax[0]).not.toBe(before.absmax[0]);
    });

    it("off: a zero gradient is a gradient like any other", () => {
      const parameter = parameterOf([1, 2], { grad: [0, 1] });
      new LARS([parameter], { lr: 0.5, weightDecay: 0.5, trustRatio: "none" }, options).step();
      expect(parameter.data[0]).toBe(0.75);
    });
  });
});

describe("percentile clipping", () => {
  forEachKernel(({ options }) => {
    it("fills 100 slots on the first step, then stores step k in slot k mod 100, unclipped", () => {
      const parameter = parameterOf([1, 1], { grad: [3, 4] });
      const optimizer = new LARS([parameter], { lr: 0.1, percentileClipping: 50 }, options);
      const history = (): number[] => [...optimizer.stateDict().layers[0]!.gradientHistory!];
      optimizer.step();
      expect(history()).toEqual(Array.from({ length: 100 }, () => 25));
      const expected = history();
      for (let step = 2; step <= 205; step++) {
        parameter.grad = Float32Array.of(3 * step, 4 * step);
        optimizer.step();
        expected[step % 100] = (5 * step) ** 2;
      }
      expect(history()).toEqual(expected);
    });

    it("scales a gradient above the threshold down to it, and leaves one below alone", () => {
      const parameter = parameterOf([1, 1], { grad: [3, 4] });
      const optimizer = new LARS(
        [parameter],
        { lr: 1, percentileClipping: 95, trustRatio: "none" },
        options,
      );
      optimizer.step();
      parameter.data.fill(0);
      parameter.grad = Float32Array.of(30, 40);
      const above = optimizer.step().layers[0]!;
      expect(above).toMatchObject({ gradNorm: 50, clipScale: 0.1, updateNorm: 5 });
      expect([...parameter.data]).toEqual([-3, -4]);
      parameter.grad = Float32Array.of(0.3, 0.4);
      expect(optimizer.step().layers[0]!.clipScale).toBe(1);
    });

    it("is separate for each layer and counts each layer's own steps", () => {
      const params = [parameterOf([1], { grad: [1] }), parameterOf([1])];
      const optimizer = new LARS(params, { lr: 0.1, percentileClipping: 5 }, options);
      for (let step = 0; step < 3; step++) optimizer.step();
      params[1]!.grad = Float32Array.of(7);
      optimizer.step();
      params[1]!.grad = Float32Array.of(8);
      const report = optimizer.step();
      expect(report.layers.map(({ clipScale }) => clipScale)).toEqual([1, 7 / 8]);
      const history = optimizer.stateDict().layers[1]!.gradientHistory!;
      expect([...history.slice(0, 4)]).toEqual([49, 49, 64, 49]);
    });

    it("100 keeps no history", () => {
      const params = randomParameters();
      const optimizer = new LARS(params, { lr: 0.1, percentileClipping: 100 }, options);
      runSteps(optimizer, params, 2);
      expect(optimizer.stateDict().layers[0]!.gradientHistory).toBeNull();
    });
  });
});

describe("maxGradNorm", () => {
  forEachKernel(({ options }) => {
    it("limits the norm over all groups together, as clip_grad_norm_ does", () => {
      const [a, b] = [parameterOf([0], { grad: [3] }), parameterOf([0], { grad: [4] })];
      const optimizer = new LARS(
        [{ params: [a] }, { params: [b] }],
        { lr: 1, maxGradNorm: 1, trustRatio: "none" },
        options,
      );
      const report = optimizer.step();
      const scale = 1 / (5 + 1e-6);
      expect(report.gradNorm).toBe(5);
      expect(report.layers.map(({ clipScale }) => clipScale)).toEqual([scale, scale]);
      expect(a.data[0]).toBeCloseTo(-3 * scale, 6);
      expect(b.data[0]).toBeCloseTo(-4 * scale, 6);
    });

    it("leaves smaller gradients alone", () => {
      const parameter = parameterOf([0, 0], { grad: [3, 4] });
      const trustRatio = "none";
      const optimizer = new LARS([parameter], { lr: 1, maxGradNorm: 6, trustRatio }, options);
      expect(optimizer.step().layers[0]!.clipScale).toBe(1);
      expect([...parameter.data]).toEqual([-3, -4]);
    });

    it("comes after percentile clipping", () => {
      const [a, b] = [parameterOf([0], { grad: [3] }), parameterOf([0], { grad: [4] })];
      const optimizer = new LARS(
        [{ params: [a], percentileClipping: 50 }, { params: [b] }],
        { lr: 1, maxGradNorm: 2.5, trustRatio: "none" },
        options,
      );
      optimizer.step();
      a.grad![0] = 300; // clipped to 3 by its history
      const report = optimizer.step();
      const scale = 2.5 / (5 + 1e-6);
      expect(report.layers[0]!.clipScale).toBeCloseTo(0.01 * scale, 12);
      expect(report.layers[1]!.clipScale).toBeCloseTo(scale, 12);
    });

    it("of one group holds for its layers, by the norm over all", () => {
      const [a, b] = [parameterOf([0], { grad: [3] }), parameterOf([0], { grad: [4] })];
      const optimizer = new LARS(
        [{ params: [a], maxGradNorm: 1 }, { params: [b] }],
        { lr: 1, trustRatio: "none" },
        options,
      );
      const [first, second] = optimizer.step().layers;
      expect(first!.clipScale).toBeCloseTo(1 / (5 + 1e-6), 12);
      expect(second!.clipScale).toBe(1);
    });
  });
});

describe("gradScale", () => {
  forEachKernel(({ options }) => {
    it("multiplies every gradient before anything else: a power of two gives the same bits", () => {
      const settings: LARSOptions = {
        lr: 0.1,
        momentum: 0.9,
        weightDecay: 0.01,
        percentileClipping: 20,
        maxGradNorm: 20,
        trustRatio: { rule: "scale-gradient", coefficient: 0.02, denominator: "joint" },
      };
      const [scaled, unscaled] = [randomParameters(), randomParameters()];
      const a = new LARS(scaled, settings, options);
      const b = new LARS(unscaled, settings, options);
      for (let step = 0; step < 4; step++) {
        unscaled.forEach((parameter, layer) => {
          parameter.grad = gradientAt(step, layer, parameter.size);
          scaled[layer]!.grad = parameter.grad.map((value) => value * 1024);
        });
        const report = a.step({ gradScale: 1 / 1024 });
        expect(report).toEqual(b.step());
      }
      expectSameSnapshot(snapshotOf(a, scaled), snapshotOf(b, unscaled));
    });

    it("leaves the gradients themselves as they are", () => {
      const parameter = parameterOf([1], { grad: [3] });
      new LARS([parameter], { lr: 1 }, options).step({ gradScale: 0.25 });
      expect([...parameter.grad!]).toEqual([3]);
    });
  });
});

describe("parameters without a gradient", () => {
  forEachKernel(({ options }) => {
    it("are left alone: weights, state, counts, report", () => {
      const params = randomParameters();
      const optimizer = new LARS(
        params,
        { lr: 0.1, momentum: 0.9, weightDecay: 0.1, percentileClipping: 50 },
        options,
      );
      runSteps(optimizer, params, 2);
      const before = snapshotOf(optimizer, params);
      params[1]!.grad = null;
      const report = optimizer.step();
      expect(report.layers.map(({ name }) => name)).toEqual(["layer a", "layer c"]);
      const after = snapshotOf(optimizer, params);
      expectSameBits(after.weights[1]!, before.weights[1]!);
      expect(after.state.layers[1]).toEqual(before.state.layers[1]);
      expect(after.state.layers[0]!.step).toBe(3);
    });

    it("do not count in the global norm", () => {
      const params = [parameterOf([0], { grad: [3] }), parameterOf([0], { grad: [4] })];
      const optimizer = new LARS(params, { lr: 1 }, options);
      expect(optimizer.step().gradNorm).toBe(5);
      params[1]!.grad = null;
      expect(optimizer.step().gradNorm).toBe(3);
    });
  });
});

describe("non-finite gradients", () => {
  const settings: LARSOptions = {
    lr: (step) => 0.1 / (step + 1),
    momentum: 0.9,
    weightDecay: 0.01,
    percentileClipping: 50,
    maxGradNorm: 100,
    trustRatio: { rule: "scale-gradient", coefficient: 0.02 },
  };
  const bad = [NaN, Infinity, -Infinity];
  // In a vector, in the last elements of a layer, in the first and the last layer.
  const places = [
    [0, 0],
    [0, 299],
    [1, 3],
    [1, 6],
    [2, 100],
    [2, 512],
  ] as const;

  forEachKernel(({ options }) => {
    for (const optimBits of [32, 8] as const) {
      const bits = { ...settings, optimBits, min8bitSize: 1 };

      it(`throw names the layer and changes nothing (${optimBits} bits)`, () => {
        for (const value of bad) {
          for (const [layer, element] of places) {
            const params = randomParameters();
            const optimizer = new LARS(params, bits, options);
            runSteps(optimizer, params, 2);
            const before = snapshotOf(optimizer, params);
            params[layer]!.grad![element] = value;
            const name = params[layer]!.name!;
            let thrown: unknown;
            try {
              optimizer.step();
            } catch (error) {
              thrown = error;
            }
            expect(thrown).toBeInstanceOf(NonFiniteGradientError);
            expect(thrown).toMatchObject({ name: "NonFiniteGradientError", layer: name });
            expect((thrown as Error).message).toContain(JSON.stringify(name));
            expectSameSnapshot(snapshotOf(optimizer, params), before);
          }
        }
      });

      it(`skip reports it, changes nothing, and the next step is as if it had never been (${optimBits} bits)`, () => {
        const params = randomParameters();
        const twins = randomParameters();
        const optimizer = new LARS(params, { ...bits, nonFinite: "skip" }, options);
        const twin = new LARS(twins, { ...bits, nonFinite: "skip" }, options);
        runSteps(optimizer, params, 2);
        runSteps(twin, twins, 2);
        for (const value of bad) {
          const before = snapshotOf(optimizer, params);
          params[2]!.grad![100] = value;
          const report = optimizer.step();
          expect(report).toMatchObject({ step: 2, skipped: true, lr: 0.1 / 3 });
          expect(report.layers.map(({ trustRatio, clipScale }) => [trustRatio, clipScale])).toEqual(
            [
              [0, 0],
              [0, 0],
              [0, 0],
            ],
          );
          expect(Number.isFinite(report.layers[2]!.gradNorm)).toBe(false);
          expect(Number.isFinite(report.gradNorm)).toBe(false);
          expectSameSnapshot(snapshotOf(optimizer, params), before);
        }
        runSteps(optimizer, params, 2, { from: 2 });
        runSteps(twin, twins, 2, { from: 2 });
        expectSameSnapshot(snapshotOf(optimizer, params), snapshotOf(twin, twins));
      });
    }

    it("a skipped first step leaves no state", () => {
      const parameter = parameterOf([1], { grad: [NaN] });
      const optimizer = new LARS(
        [parameter],
        { lr: 1, momentum: 0.9, nonFinite: "skip", percentileClipping: 5 },
        options,
      );
      optimizer.step();
      expect(optimizer.stateBytes).toBe(0);
      expect(optimizer.stateDict()).toMatchObject({ step: 0, layers: [{ step: 0 }] });
    });

    it("a layer under throw decides over one under skip", () => {
      const params = [
        parameterOf([1], { grad: [NaN] }),
        parameterOf([1], { grad: [1], name: "b" }),
      ];
      const optimizer = new LARS(
        [
          { params: [params[0]!], nonFinite: "skip" },
          { params: [params[1]!], nonFinite: "throw" },
        ],
        { lr: 1 },
        options,
      );
      expect(optimizer.step().skipped).toBe(true);
      params[1]!.grad![0] = Infinity;
      expect(() => optimizer.step()).toThrow(/"b"/);
    });

    it("gradients at the end of float32's range are finite", () => {
      const parameter = parameterOf([1, 1], { grad: [3e38, -3e38] });
      const trustRatio = { rule: "scale-gradient", coefficient: 0.5 } as const;
      const report = new LARS([parameter], { lr: 1, trustRatio }, options).step();
      expect(report.skipped).toBe(false);
      expect(parameter.data[0]).toBeCloseTo(0.5, 6);
      expect(parameter.data[1]).toBeCloseTo(1.5, 6);
    });
  });
});

describe("ratios that float32 does not hold", () => {
  const ratioRules: TrustRatio[] = [
    scaleGradient,
    { ...scaleGradient, momentumOrder: "torch" },
    { ...scaleGradient, denominator: "joint" },
    { rule: "scale-update", coefficient: 0.02, eps: 0, whenZero: "unit" },
  ];

  forEachKernel(({ options: kernel }) => {
    describe.each(ratioRules)("$rule $momentumOrder $denominator", (trustRatio) => {
      it.each([2 ** -149, 1e-42, 1e-40, 1e-38, 1e37])(
        "gradients near %d move the weights as those near 1 do, to 2e-6 of the layer's scale (float32 storage)",
        (scale) => {
          // Multiples of the scale without rounding, so that only the scale is another.
          const gradient = Float32Array.from({ length: 300 }, (_, i) => ((i * 7) % 11) - 5);
          const scaled = gradient.map((value) => value * Math.fround(scale));
          for (const optimBits of [32, 8] as const) {
            // After the momentum the ratio comes too late: denormals lose bits when they are stored.
            const momentum = trustRatio.rule === "scale-update" ? 0 : 0.9;
            const options = { lr: 0.5, momentum, optimBits, min8bitSize: 1, trustRatio };
            for (const weightScale of [1, 1000]) {
              const weights = randomArray(300, 1, { scale: weightScale });
              const [near, far] = [gradient, scaled].map((grad) => {
                const parameter = parameterOf(weights, { grad });
                const small = parameterOf([1, 2], { grad: [1, 1] });
                const optimizer = new LARS([small, parameter], options, kernel);
                optimizer.step();
                optimizer.step();
                return parameter.data;
              });
              expect(relativeDifference(far!, near!)).toBeLessThanOrEqual(2e-6);
            }
          }
        },
      );
    });
  });
});

describe("the report", () => {
  forEachKernel(({ options }) => {
    it("has norms, ratio and scales of every layer, in the order of the groups", () => {
      const a = parameterOf([3, 4], { grad: [6, 8], name: "a" });
      const b = parameterOf([0, 5], { grad: [0, 2] });
      const optimizer = new LARS(
        [{ params: [b] }, { params: [a], lr: 4, trustRatio: "none" }],
        { lr: 0.5, maxUnorm: 0.2 },
        options,
      );
      expect(optimizer.step({ gradScale: 0.5 })).toEqual({
        step: 1,
        lr: 0.5,
        skipped: false,
        gradNorm: Math.sqrt(26),
        layers: [
          {
            name: "layer 0",
            weightNorm: 5,
            gradNorm: 1,
            updateNorm: 1,
            trustRatio: 1,
            clipScale: 1,
          },
          { name: "a", weightNorm: 5, gradNorm: 5, updateNorm: 5, trustRatio: 1, clipScale: 1 },
        ],
      });
      expect([...b.data]).toEqual([0, 4.5]);
      expect([...a.data]).toEqual([-9, -12]);
      expect(optimizer.step().step).toBe(2);
    });

    it("has all norms under every rule", () => {
      for (const rule of rules) {
        const parameter = parameterOf([3, 4], { grad: [6, 8] });
        const [layer] = new LARS([parameter], { lr: 1, trustRatio: rule }, options).step().layers;
        expect(layer).toMatchObject({ weightNorm: 5, gradNorm: 10 });
        expect(layer!.updateNorm).toBeGreaterThan(0);
      }
    });
  });
});

describe("live groups", () => {
  forEachKernel(({ options }) => {
    it("take what is set on them at the next step", () => {
      const parameter = parameterOf([8], { grad: [1] });
      const optimizer = new LARS([parameter], { lr: 1, trustRatio: "none" }, options);
      const group = optimizer.paramGroups[0]!;
      optimizer.step();
      expect(parameter.data[0]).toBe(7);
      group.lr = 0.5;
      expect(optimizer.step().lr).toBe(0.5);
      expect(parameter.data[0]).toBe(6.5);
      group.weightDecay = 1;
      optimizer.step();
      expect(parameter.data[0]).toBe(6.5 - 0.5 * 7.5);
      group.lr = (step) => step;
      expect(optimizer.step().lr).toBe(3);
    });

    it("take a rule through trustRatio and through maxUnorm", () => {
      const parameter = parameterOf([3, 4], { grad: [30, 40] });
      const optimizer = new LARS([parameter], { lr: 0 }, options);
      const group = optimizer.paramGroups[0]!;
      expect(group.trustRatio).toEqual({ rule: "clip-update", maxUnorm: 0.02, whenZero: "unit" });
      expect(group.maxUnorm).toBe(0.02);
      expect(optimizer.step().layers[0]!.trustRatio).toBeCloseTo(0.002, 12);
      group.maxUnorm = 1;
      expect(group.trustRatio).toMatchObject({ rule: "clip-update", maxUnorm: 1 });
      expect(optimizer.step().layers[0]!.trustRatio).toBeCloseTo(0.1, 12);
      group.trustRatio = "scale-update";
      expect(group.maxUnorm).toBe(0);
      expect(optimizer.step().layers[0]!.trustRatio).toBeCloseTo(0.0001, 12);
      group.trustRatio = { rule: "scale-gradient", coefficient: 0.5 };
      expect(optimizer.step().layers[0]!.trustRatio).toBeCloseTo(0.05, 12);
    });

    it("from 32 to 8 bits quantises the momentum, and back keeps what the codes say", () => {
      const params = randomParameters(1, [700]);
      const optimizer = new LARS(params, { lr: 0.1, momentum: 0.9, min8bitSize: 1 }, options);
      const group = optimizer.paramGroups[0]!;
      runSteps(optimizer, params, 2);
      const exact = float32Momentum(optimizer);
      group.optimBits = 8;
      group.lr = 0;
      params[0]!.grad!.fill(0);
      optimizer.step(); // m ← 0.9·(quantised m), quantised
      const { codes, absmax } = blockwiseMomentum(optimizer);
      expect(codes.length).toBe(700);
      expect(optimizer.stateBytes).toBe(700 + 3 * 4);
      const blockMaximum = (block: number): number =>
        largestMagnitude(exact.slice(256 * block, 256 * (block + 1)));
      [0, 1, 2].forEach((block) => {
        // 1 is a code, −1 is not: the largest magnitude may have become 0.993 of itself.
        expect(absmax[block]! / (0.9 * blockMaximum(block))).toBeGreaterThan(0.99);
        expect(absmax[block]! / (0.9 * blockMaximum(block))).toBeLessThan(1.000001);
      });
      group.optimBits = 32;
      optimizer.step();
      const back = float32Momentum(optimizer);
      expect(
        relativeDifference(
          back,
          exact.map((value) => 0.81 * value),
        ),
      ).toBeLessThan(0.02);
    });

    it("to momentum 0 give the state up, and back start anew", () => {
      const params = randomParameters();
      const optimizer = new LARS(params, { lr: 0.1, momentum: 0.9, trustRatio: "none" }, options);
      runSteps(optimizer, params, 1);
      expect(optimizer.stateBytes).toBe(4 * (300 + 7 + 513));
      optimizer.paramGroups[0]!.momentum = 0;
      runSteps(optimizer, params, 1, { from: 1 });
      expect(optimizer.stateBytes).toBe(0);
      optimizer.paramGroups[0]!.momentum = 0.9;
      runSteps(optimizer, params, 1, { from: 2 });
      expectSameBits(float32Momentum(optimizer), params[0]!.grad!);
    });

    it("can be added; layers go behind those that there are", () => {
      const [a, b] = [parameterOf([1], { grad: [1] }), parameterOf([1], { grad: [1] })];
      const optimizer = new LARS([a], { lr: 0.5, trustRatio: "none" }, options);
      optimizer.addParamGroup({ params: [b], lr: 0.25 });
      const report = optimizer.step();
      expect(report.lr).toBe(0.5);
      expect(report.layers.map(({ name }) => name)).toEqual(["layer 0", "layer 1"]);
      expect([a.data[0], b.data[0]]).toEqual([0.5, 0.75]);
    });
  });
});

describe("stateBytes", () => {
  forEachKernel(({ options }) => {
    it("is 4 bytes a parameter with 32 bits, 1.0157 with 8, and 0 before the first step", () => {
      const size = 512 * 256;
      const parameter = parameterOf(randomArray(size, 1), { grad: randomArray(size, 2) });
      const wide = new LARS32bit([parameter], { lr: 0.1, momentum: 0.9 }, options);
      const narrow = new LARS8bit([parameter], { lr: 0.1, momentum: 0.9 }, options);
      expect(wide.stateBytes).toBe(0);
      expect(narrow.stateBytes).toBe(0);
      wide.step();
      narrow.step();
      expect(wide.stateBytes / size).toBe(4);
      expect(narrow.stateBytes / size).toBe(1 + 4 / 256);
      expect(narrow.stateBytes / size).toBeLessThan(1.0157);
    });

    it("counts 800 bytes of clipping history a layer", () => {
      const params = randomParameters();
      const optimizer = new LARS(params, { lr: 0.1, percentileClipping: 5 }, options);
      runSteps(optimizer, params, 1);
      expect(optimizer.stateBytes).toBe(3 * 800);
    });

    it("keeps 32 bits below min8bitSize, 8 from it on", () => {
      const params = randomParameters(1, [4095, 4096]);
      const optimizer = new LARS8bit(params, { lr: 0.1, momentum: 0.9 }, options);
      runSteps(optimizer, params, 1);
      expect(optimizer.stateDict().layers.map(({ momentum }) => momentum?.kind)).toEqual([
        "float32",
        "blockwise",
      ]);
      expect(optimizer.stateBytes).toBe(4095 * 4 + 4096 + 16 * 4);
    });
  });
});

describe("zeroGrad and dispose", () => {
  forEachKernel(({ options }) => {
    it("zeroGrad fills gradients with 0 and keeps null ones null", () => {
      const [a, b] = [parameterOf([1, 2], { grad: [3, 4] }), parameterOf([1])];
      const optimizer = new LARS([a, b], { lr: 1 }, options);
      const { grad } = a;
      optimizer.zeroGrad();
      expect(a.grad).toBe(grad);
      expect([...a.grad!]).toEqual([0, 0]);
      expect(b.grad).toBeNull();
    });

    it("dispose gives the state back: no step and no loading after it, parameters stay", () => {
      const params = randomParameters();
      const optimizer = new LARS(params, { lr: 0.1, momentum: 0.9 }, options);
      runSteps(optimizer, params, 1);
      const saved = optimizer.stateDict();
      const weights = Float32Array.from(params[0]!.data);
      optimizer.dispose();
      expect(optimizer.stateBytes).toBe(0);
      expect(() => optimizer.step()).toThrow(/disposed/);
      expect(() => optimizer.loadStateDict(saved)).toThrow(/disposed/);
      expect(() => {
        optimizer.addParamGroup({ params: [parameterOf([1])] });
      }).toThrow(/disposed/);
      expectSameBits(params[0]!.data, weights);
      optimizer.dispose();
    });

    it("memory that is given back is used again, and starts at zero", () => {
      for (let round = 0; round < 60; round++) {
        const parameter = Parameter.allocate([50_000]);
        expect(largestMagnitude(parameter.data)).toBe(0);
        expect(largestMagnitude(parameter.grad)).toBe(0);
        parameter.data.fill(round + 1);
        parameter.grad.fill(1);
        const optimizer = new LARS([parameter], { lr: 1, momentum: 0.9 }, options);
        if (round % 20 === 0) optimizer.step();
        optimizer.dispose();
        parameter.dispose();
        expect(parameter.grad).toBeNull();
      }
    });
  });
});
