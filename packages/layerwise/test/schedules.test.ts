import { describe, expect, it } from "vitest";
import { LARS, schedules } from "../src/index.js";
import type { Schedule } from "../src/index.js";
import { parameterOf } from "./helpers/problem.js";

const {
  constant,
  cosine,
  linearBatchScaling,
  multiStep,
  polynomial,
  sequence,
  sqrtBatchScaling,
  warmup,
} = schedules;

function rates(schedule: Schedule, steps: number): number[] {
  return Array.from({ length: steps }, (_, step) => schedule(step));
}

function expectRates(schedule: Schedule, expected: readonly number[]): void {
  rates(schedule, expected.length).forEach((rate, step) => {
    expect(rate, `step ${step}`).toBeCloseTo(expected[step]!, 12);
  });
}

describe("constant", () => {
  it("is the same at every step", () => {
    expect(rates(constant(0.3), 3)).toEqual([0.3, 0.3, 0.3]);
    expect(constant(0.3)(1e9)).toBe(0.3);
  });
});

describe("warmup", () => {
  it("rises linearly: the first step already moves, the last has the peak", () => {
    expectRates(warmup({ peak: 4, steps: 4 }), [1, 2, 3, 4, 4, 4]);
  });

  it("starts above `start`", () => {
    expectRates(warmup({ peak: 5, steps: 4, start: 1 }), [2, 3, 4, 5, 5]);
  });

  it("may fall, and may take one step", () => {
    expectRates(warmup({ peak: 0, steps: 2, start: 1 }), [0.5, 0, 0]);
    expectRates(warmup({ peak: 2, steps: 1 }), [2, 2]);
  });
});

describe("polynomial", () => {
  it("has power 2, and ends at 0, unless told otherwise", () => {
    expectRates(polynomial({ start: 1, steps: 4 }), [1, 0.5625, 0.25, 0.0625, 0, 0]);
  });

  it("of power 1 is a straight line to `end`", () => {
    expectRates(polynomial({ start: 5, end: 1, steps: 4, power: 1 }), [5, 4, 3, 2, 1, 1]);
  });

  it("is the rate of the optax trajectories: 0.5·(1 − k/8)²", () => {
    const reference = [0.5, 0.3828125, 0.28125, 0.1953125, 0.125, 0.0703125, 0.03125, 0.0078125];
    expect(rates(polynomial({ start: 0.5, steps: 8 }), 8)).toEqual(reference);
  });
});

describe("cosine", () => {
  it("is half a wave from start to end", () => {
    const root = Math.SQRT1_2;
    expectRates(cosine({ start: 2, steps: 4 }), [2, 1 + root, 1, 1 - root, 0, 0]);
    expectRates(cosine({ start: 3, end: 1, steps: 2 }), [3, 2, 1, 1]);
  });
});

describe("multiStep", () => {
  it("is multiplied at each milestone, by 0.1 unless told otherwise", () => {
    expectRates(multiStep({ start: 1, milestones: [2, 3] }), [1, 1, 0.1, 0.01, 0.01]);
    expectRates(multiStep({ start: 8, milestones: [1, 3], factor: 0.5 }), [8, 4, 4, 2, 2]);
  });

  it("without milestones is constant; one at 0 holds from the start", () => {
    expectRates(multiStep({ start: 1, milestones: [] }), [1, 1]);
    expectRates(multiStep({ start: 1, milestones: [0] }), [0.1, 0.1]);
  });
});

describe("sequence", () => {
  it("joins schedules; each counts its own steps from 0", () => {
    const joined = sequence([
      { schedule: warmup({ peak: 4, steps: 2 }), steps: 2 },
      { schedule: constant(7), steps: 1 },
      { schedule: polynomial({ start: 4, steps: 2 }) },
    ]);
    expectRates(joined, [2, 4, 7, 4, 1, 0, 0]);
  });

  it("goes on with the last part beyond its end", () => {
    const part = { schedule: (step: number) => step, steps: 2 };
    expectRates(sequence([part, part]), [0, 1, 0, 1, 2, 3]);
    expectRates(sequence([part]), [0, 1, 2]);
  });

  it("can be nested", () => {
    const inner = sequence([{ schedule: constant(1), steps: 1 }, { schedule: constant(2) }]);
    const outer = sequence([{ schedule: inner, steps: 2 }, { schedule: inner }]);
    expectRates(outer, [1, 2, 1, 2, 2]);
  });
});

describe("batch scaling", () => {
  it("linear: lr · batchSize / 256, or another base", () => {
    expect(linearBatchScaling({ lr: 0.1, batchSize: 8192 })).toBeCloseTo(3.2, 12);
    expect(linearBatchScaling({ lr: 0.1, batchSize: 64, baseBatchSize: 128 })).toBeCloseTo(0.05);
  });

  it("square root: lr · √(batchSize / 256), or another base", () => {
    expect(sqrtBatchScaling({ lr: 0.1, batchSize: 4096 })).toBeCloseTo(0.4, 12);
    expect(sqrtBatchScaling({ lr: 0.1, batchSize: 512, baseBatchSize: 128 })).toBeCloseTo(0.2);
  });
});

describe("a schedule as lr", () => {
  it("gives the optimizer's rate, step by step, and goes with any function", () => {
    const parameter = parameterOf([0], { grad: [1] });
    const lr = sequence([
      { schedule: warmup({ peak: 1, steps: 2 }), steps: 2 },
      { schedule: cosine({ start: 1, steps: 2 }) },
    ]);
    const optimizer = new LARS([parameter], { lr, trustRatio: "none" });
    const seen = Array.from({ length: 5 }, () => optimizer.step().lr);
    expect(seen).toEqual(rates(lr, 5));
    expect(parameter.data[0]).toBeCloseTo(-seen.reduce((sum, rate) => sum + rate, 0), 6);
  });
});

describe("wrong arguments are refused when the schedule is made", () => {
  const part = { schedule: constant(1), steps: 2 };
  const sparse = Object.assign(new Array<number>(3), { 0: 1, 2: 3 });
  const cases: [string, () => unknown, typeof RangeError | typeof TypeError][] = [
    ["constant: value", () => constant(-1), RangeError],
    ["constant: value", () => constant(NaN), RangeError],
    ["constant: value", () => constant("1" as never), TypeError],
    ["warmup: peak", () => warmup({ peak: -1, steps: 1 }), RangeError],
    ["warmup: start", () => warmup({ peak: 1, start: Infinity, steps: 1 }), RangeError],
    ["warmup: steps", () => warmup({ peak: 1, steps: 0 }), RangeError],
    ["warmup: steps", () => warmup({ peak: 1, steps: 1.5 }), RangeError],
    ["polynomial: start", () => polynomial({ start: -1, steps: 1 }), RangeError],
    ["polynomial: end", () => polynomial({ start: 1, end: -1, steps: 1 }), RangeError],
    ["polynomial: steps", () => polynomial({ start: 1, steps: 0 }), RangeError],
    ["polynomial: power", () => polynomial({ start: 1, steps: 1, power: 0 }), RangeError],
    ["cosine: start", () => cosine({ start: NaN, steps: 1 }), RangeError],
    ["cosine: end", () => cosine({ start: 1, end: -1, steps: 1 }), RangeError],
    ["cosine: steps", () => cosine({ start: 1, steps: -1 }), RangeError],
    ["multiStep: start", () => multiStep({ start: -1, milestones: [] }), RangeError],
    ["multiStep: factor", () => multiStep({ start: 1, milestones: [], factor: -1 }), RangeError],
    ["milestones[1]", () => multiStep({ start: 1, milestones: [3, 3] }), RangeError],
    ["milestones[1]", () => multiStep({ start: 1, milestones: [3, 2] }), RangeError],
    ["milestones[0]", () => multiStep({ start: 1, milestones: [-1] }), RangeError],
    ["milestones[0]", () => multiStep({ start: 1, milestones: [0.5] }), RangeError],
    ["milestones[1]", () => multiStep({ start: 1, milestones: sparse }), TypeError],
    ["multiStep: milestones", () => multiStep({ start: 1, milestones: 3 as never }), TypeError],
    ["sequence", () => sequence([]), RangeError],
    ["sequence: expected an array", () => sequence(null as never), TypeError],
    ["sequence: expected an array", () => sequence({} as never), TypeError],
    ["sequence: expected an array", () => sequence(part as never), TypeError],
    ["parts[0]: expected an object", () => sequence([null as never]), TypeError],
    ["parts[0]: expected an object", () => sequence([constant(1) as never]), TypeError],
    ["parts[1]: expected an object", () => sequence([part, 3 as never]), TypeError],
    [
      "parts[1]: expected an object",
      () => sequence(Object.assign(new Array(2), [part])),
      TypeError,
    ],
    ["parts[0].schedule: expected a schedule", () => sequence([{} as never]), TypeError],
    [
      "parts[1].schedule: expected a schedule",
      () => sequence([part, { schedule: 0.1 as never }]),
      TypeError,
    ],
    [
      'parts[0]: unknown name "step"',
      () => sequence([{ ...part, step: 3 } as never, part]),
      TypeError,
    ],
    ["parts[1].steps", () => sequence([part, { ...part, steps: 0 }]), RangeError],
    ["parts[1].steps", () => sequence([part, { ...part, steps: NaN }]), RangeError],
    ["parts[1].steps", () => sequence([part, { ...part, steps: "2" as never }]), TypeError],
    [
      "parts[0].steps",
      () => sequence([{ schedule: constant(1) }, { schedule: constant(1) }]),
      TypeError,
    ],
    [
      "parts[0].steps",
      () => sequence([{ schedule: constant(1), steps: 0 }, { schedule: constant(1) }]),
      RangeError,
    ],
    ["linearBatchScaling: lr", () => linearBatchScaling({ lr: -1, batchSize: 1 }), RangeError],
    [
      "linearBatchScaling: batchSize",
      () => linearBatchScaling({ lr: 1, batchSize: 0 }),
      RangeError,
    ],
    [
      "sqrtBatchScaling: baseBatchSize",
      () => sqrtBatchScaling({ lr: 1, batchSize: 1, baseBatchSize: 0.5 }),
      RangeError,
    ],
  ];

  const makers = {
    warmup,
    polynomial,
    cosine,
    multiStep,
    linearBatchScaling,
    sqrtBatchScaling,
  } as unknown as Record<string, (options: unknown) => unknown>;
  const complete: Record<string, Record<string, unknown>> = {
    warmup: { peak: 1, steps: 2 },
    polynomial: { start: 1, steps: 2 },
    cosine: { start: 1, steps: 2 },
    multiStep: { start: 1, milestones: [1] },
    linearBatchScaling: { lr: 1, batchSize: 2 },
    sqrtBatchScaling: { lr: 1, batchSize: 2 },
  };

  describe.each(Object.entries(complete))("%s", (name, options) => {
    const make = makers[name]!;

    it.each([[undefined], [null], [3], ["1"], [[1, 2]], [new Map()]])("of %o", (wrong) => {
      expect(() => make(wrong)).toThrow(TypeError);
      expect(() => make(wrong)).toThrow(`${name}: expected an object`);
    });

    it.each(Object.keys(options))("without %s", (field) => {
      const others = { ...options, [field]: undefined };
      expect(() => make(others)).toThrow(TypeError);
      expect(() => make(others)).toThrow(new RegExp(`^${name}: ${field}: .*got undefined`));
    });

    it.each(["stpes", "power ", "End", "warmup"])("with a misspelt field: %s", (field) => {
      expect(() => make({ ...options, [field]: 1 })).toThrow(TypeError);
      expect(() => make({ ...options, [field]: 1 })).toThrow(`${name}: unknown name "${field}"`);
    });

    it("whole is taken", () => {
      expect(() => make(options)).not.toThrow();
    });
  });

  it("but only polynomial has a power", () => {
    expect(() => polynomial({ start: 1, steps: 2, power: 1 })).not.toThrow();
    expect(() => cosine({ start: 1, steps: 2, power: 1 } as never)).toThrow(/unknown name "power"/);
  });

  it("and lists that change later do not change a schedule", () => {
    const milestones = [1, 2];
    const steps = multiStep({ start: 1, milestones });
    const parts = [{ schedule: constant(1), steps: 1 }, { schedule: constant(2) }];
    const joined = sequence(parts);
    milestones[1] = 1000;
    parts.pop();
    parts[0]!.steps = 1000;
    expectRates(steps, [1, 0.1, 0.01]);
    expectRates(joined, [1, 2, 2]);
  });

  it.each(cases.map(([name, make, type], index) => ({ name, make, type, index })))(
    "$index: $name",
    ({ name, make, type }) => {
      expect(make).toThrow(type);
      expect(make).toThrow(name);
    },
  );
});
