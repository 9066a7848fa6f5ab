/** Every refusal: its type, that it names the option, what was expected and the value, and that nothing changed. */
import { describe, expect, it, vi } from "vitest";
import { excludeFromAdaptation, LARS, LARS32bit, LARS8bit, Parameter } from "../src/index.js";
import type { KernelOptions, LARSOptions, ParamGroupOptions, StepOptions } from "../src/index.js";
import { forEachKernel } from "./helpers/kernels.js";
import {
  expectSameSnapshot,
  parameterOf,
  randomParameters,
  runSteps,
  snapshotOf,
} from "./helpers/problem.js";
import { expectRefusal } from "./helpers/refusal.js";
import type { ErrorType } from "./helpers/refusal.js";

interface WrongValue {
  /** How the error names it. */
  option: string;
  options: Record<string, unknown>;
  type: ErrorType;
  /** How the error shows the value. */
  shown: string;
  expected: string;
}

function wrong(
  option: string,
  expected: string,
  values: readonly [unknown, ErrorType, string?][],
  beside: Record<string, unknown> = {},
): WrongValue[] {
  return values.map(([value, type, shown = String(value)]) => ({
    option,
    options: { ...beside, [option]: value },
    type,
    shown: `got ${shown}`,
    expected,
  }));
}

const T = TypeError;
const R = RangeError;
const notNumbers: [unknown, ErrorType, string][] = [
  ["0.5", T, '"0.5"'],
  [null, T, "null"],
  [true, T, "true"],
  [{}, T, "an object"],
  [[1, 2], T, "an array of 2"],
];
const notFinite: [unknown, ErrorType][] = [
  [NaN, R],
  [Infinity, R],
  [-Infinity, R],
];
const fractions: [unknown, ErrorType, string?][] = [
  ...notNumbers,
  ...notFinite,
  [-0.1, R],
  [1, R],
  [1.5, R],
];
const notBooleans: [unknown, ErrorType, string][] = [
  [1, T, "1"],
  ["true", T, '"true"'],
  [null, T, "null"],
];

/** Wrong values that a live group can be set to as well. */
const wrongValues: WrongValue[] = [
  ...wrong("lr", "a finite number ≥ 0 or a schedule", [...notNumbers, ...notFinite, [-1e-9, R]]),
  ...wrong("momentum", "a number in [0, 1)", fractions),
  ...wrong("dampening", "a number in [0, 1)", fractions),
  ...wrong("weightDecay", "a finite number ≥ 0", [...notNumbers, ...notFinite, [-1, R]]),
  ...wrong("nesterov", "true or false", notBooleans, { momentum: 0.9 }),
  ...wrong("optimBits", "8 or 32", [
    [16, R],
    [4, R],
    [NaN, R],
    ["8", T, '"8"'],
    [null, T],
    [true, T],
  ]),
  ...wrong("min8bitSize", "a whole number ≥ 0", [...notNumbers, ...notFinite, [-1, R], [0.5, R]]),
  ...wrong("percentileClipping", "a whole number from 1 to 100", [
    ...notNumbers,
    ...notFinite,
    [0, R],
    [101, R],
    [50.5, R],
    [-5, R],
  ]),
  ...wrong("maxGradNorm", "a finite number > 0", [
    ...notNumbers.filter(([value]) => value !== null),
    ...notFinite,
    [0, R],
    [-1, R],
  ]),
  ...wrong("skipZeros", "true or false", notBooleans),
  ...wrong("nonFinite", '"throw" or "skip"', [
    ["ignore", R, '"ignore"'],
    [true, T],
    [null, T],
  ]),
];

function wrongField(
  rule: string,
  field: string,
  expected: string,
  values: readonly [unknown, ErrorType, string?][],
): WrongValue[] {
  return values.map(([value, type, shown = String(value)]) => ({
    option: `trustRatio.${field}`,
    options: { trustRatio: { rule, [field]: value } },
    type,
    shown: `got ${shown}`,
    expected,
  }));
}

const notNonNegative: [unknown, ErrorType, string?][] = [...notNumbers, ...notFinite, [-0.1, R]];
const notWhenZero: [unknown, ErrorType, string?][] = [
  ["zero", R, '"zero"'],
  [0, T],
  [null, T],
];

/** Wrong values that a live group refuses at once. */
const wrongRules: WrongValue[] = [
  ...wrong("maxUnorm", "a finite number ≥ 0", notNonNegative),
  ...wrongField("clip-update", "maxUnorm", "a finite number ≥ 0", notNonNegative),
  ...wrongField("clip-update", "whenZero", '"unit" or "freeze"', notWhenZero),
  ...wrongField("scale-gradient", "coefficient", "a finite number ≥ 0", notNonNegative),
  ...wrongField("scale-gradient", "eps", "a finite number ≥ 0", notNonNegative),
  ...wrongField("scale-gradient", "denominator", '"sum" or "joint" or "gradient"', [
    ["max", R, '"max"'],
    [1, T],
    [null, T],
  ]),
  ...wrongField("scale-gradient", "clip", "true or false", notBooleans),
  ...wrongField("scale-gradient", "momentumOrder", '"classic" or "torch"', [
    ["pytorch", R, '"pytorch"'],
    [false, T],
  ]),
  ...wrongField("scale-gradient", "whenZero", '"unit" or "freeze"', notWhenZero),
  ...wrongField("scale-update", "coefficient", "a finite number ≥ 0", notNonNegative),
  ...wrongField("scale-update", "eps", "a finite number ≥ 0", notNonNegative),
  ...wrongField("scale-update", "whenZero", '"unit" or "freeze"', notWhenZero),
  ...["lars", "", "None", "toString", "__proto__"].map((rule) => ({
    option: "trustRatio",
    options: { trustRatio: rule },
    type: R,
    shown: `got ${JSON.stringify(rule)}`,
    expected: '"clip-update" or "scale-gradient" or "scale-update" or "none"',
  })),
  ...[
    [null, "null"],
    [0.02, "0.02"],
    [false, "false"],
    [["none"], "an array of 1"],
  ].map(([trustRatio, shown]) => ({
    option: "trustRatio",
    options: { trustRatio },
    type: T,
    shown: `got ${String(shown)}`,
    expected: "an object",
  })),
  {
    option: "trustRatio.rule",
    options: { trustRatio: { maxUnorm: 0.02 } },
    type: T,
    shown: "got undefined",
    expected: '"clip-update"',
  },
  ...[
    { rule: "clip-update", coefficient: 0.1 },
    { rule: "scale-update", maxUnorm: 0.1 },
    { rule: "scale-update", clip: true },
    { rule: "scale-gradient", maxUnorm: 0.1 },
    { rule: "none", whenZero: "unit" },
    { rule: "scale-gradient", trustCoefficient: 0.1 },
  ].map(({ rule, ...field }) => ({
    option: `trustRatio "${rule}"`,
    options: { trustRatio: { rule, ...field } },
    type: T,
    shown: `unknown name ${JSON.stringify(Object.keys(field)[0])}`,
    expected: "expected one of rule",
  })),
];

function wrongArgs(
  name: string,
  values: readonly [unknown, ErrorType, string?][],
  expected: string,
): WrongValue[] {
  return wrong(name, expected, values).map((value) => ({
    ...value,
    options: { args: value.options },
  }));
}

/** Wrong values that only options can have. */
const wrongOptions: WrongValue[] = [
  ...wrong("args", "an object", [
    ["8bit", T, '"8bit"'],
    [8, T],
    [[8], T, "an array of 1"],
  ]),
  ...wrongArgs("optimBits", [[16, R]], "8 or 32"),
  ...wrongArgs("percentileClipping", [[0, R]], "a whole number from 1 to 100"),
  ...wrongArgs("min8bitSize", [[-1, R]], "a whole number ≥ 0"),
  ...wrongArgs("maxUnorm", [[-1, R]], "a finite number ≥ 0"),
  ...wrongArgs("skipZeros", [[1, T]], "true or false"),
  ...["lr", "momentum", "blockWise", "optim_bits"].map((name) => ({
    option: "args",
    options: { args: { [name]: 1 } },
    type: T,
    shown: `unknown name "${name}"`,
    expected: "optimBits, percentileClipping, min8bitSize, maxUnorm, skipZeros",
  })),
  ...["learningRate", "LR", "weight_decay", "max_unorm", "betas", "kernel", ""].map((name) => ({
    option: "",
    options: { [name]: 0.1 },
    type: T,
    shown: `unknown name ${JSON.stringify(name)}`,
    expected: "expected one of lr, momentum",
  })),
  {
    option: "nesterov",
    options: { nesterov: true },
    type: R,
    shown: "momentum 0 and dampening 0",
    expected: "expected momentum > 0 and dampening 0",
  },
  {
    option: "nesterov",
    options: { nesterov: true, momentum: 0.9, dampening: 0.1, trustRatio: "none" },
    type: R,
    shown: "momentum 0.9 and dampening 0.1",
    expected: "expected momentum > 0 and dampening 0",
  },
  {
    option: "dampening",
    options: { momentum: 0.9, dampening: 0.1, trustRatio: "scale-gradient" },
    type: R,
    shown: "got 0.1",
    expected: 'momentumOrder "torch"',
  },
  {
    option: "maxUnorm",
    options: { maxUnorm: 0.02, trustRatio: "none" },
    type: T,
    shown: 'got 0.02 and "none"',
    expected: "one of them",
  },
  {
    option: "maxUnorm",
    options: { args: { maxUnorm: 0.5 }, trustRatio: { rule: "scale-update" } },
    type: T,
    shown: "got 0.5 and an object",
    expected: "one of them",
  },
];

function title({ options }: WrongValue): string {
  return JSON.stringify(options, (_, value: unknown) =>
    typeof value === "number" && !Number.isFinite(value) ? String(value) : value,
  );
}

const named = (rows: readonly WrongValue[]): (WrongValue & { title: string })[] =>
  rows.map((row) => ({ ...row, title: title(row) }));

describe("a wrong value is refused, with the option's name, what was expected and the value", () => {
  it.each(named([...wrongValues, ...wrongRules, ...wrongOptions]))(
    "$title",
    ({ option, options, type, shown, expected }) => {
      const parts = [option, shown, expected];
      const group = (): ParamGroupOptions => ({ params: [parameterOf([1])], ...options });
      const base = { lr: 0.1 };
      expectRefusal(() => new LARS([parameterOf([1])], { ...base, ...options }), type, parts);
      expectRefusal(() => new LARS([group()], base), type, parts);
      const optimizer = new LARS([parameterOf([1], { grad: [1] })], base);
      expectRefusal(
        () => {
          optimizer.addParamGroup(group());
        },
        type,
        parts,
      );
      // The optimizer is as it was.
      expect(optimizer.paramGroups.length).toBe(1);
      expect(optimizer.step().layers.length).toBe(1);
    },
  );

  it.each([[undefined], [null], ["lr"], [0.1], [[]], [new Float32Array(1)]])(
    "options that are %o",
    (options) => {
      const params = [parameterOf([1])];
      expectRefusal(() => new LARS(params, options as unknown as LARSOptions), T, ["options"]);
    },
  );

  it.each([[{}], [{ lr: undefined }], [{ momentum: 0.9 }]])("without lr: %o", (options) => {
    expectRefusal(() => new LARS([parameterOf([1])], options as unknown as LARSOptions), T, [
      "lr",
      "got none",
      "a number ≥ 0 or a schedule",
    ]);
  });
});

describe("a wrong value set on a live group", () => {
  forEachKernel(({ options: kernel }) => {
    it.each(named(wrongValues))(
      "$title: the next step throws before anything is written",
      ({ option, options, type, shown, expected }) => {
        const params = randomParameters(1, [40, 7]);
        const settings: LARSOptions = {
          lr: (step) => 0.1 / (step + 1),
          momentum: 0.9,
          percentileClipping: 50,
          optimBits: 8,
          min8bitSize: 20,
        };
        const optimizer = new LARS(
          params.map((parameter) => ({ params: [parameter] })),
          settings,
          kernel,
        );
        runSteps(optimizer, params, 2);
        const before = snapshotOf(optimizer, params);
        const group = optimizer.paramGroups[1]!;
        const kept = (group as unknown as Record<string, unknown>)[option];
        Object.assign(group, options);
        expectRefusal(() => optimizer.step(), type, [option, shown, expected]);
        expectSameSnapshot(snapshotOf(optimizer, params), before);
        Object.assign(group, { [option]: kept });
        expect(optimizer.step().step).toBe(3);
      },
    );

    it.each([
      ["nesterov without momentum", { momentum: 0, nesterov: true }, "nesterov"],
      ["nesterov with dampening", { nesterov: true, dampening: 0.1 }, "nesterov"],
      [
        "dampening with classic order",
        { dampening: 0.1, trustRatio: "scale-gradient" },
        "dampening",
      ],
    ])("%s: the next step throws before anything is written", (_, values, option) => {
      const params = randomParameters(1, [40, 7]);
      const optimizer = new LARS(params, { lr: 0.1, momentum: 0.9 }, kernel);
      runSteps(optimizer, params, 2);
      const before = snapshotOf(optimizer, params);
      Object.assign(optimizer.paramGroups[0]!, values);
      expectRefusal(() => optimizer.step(), R, [`${option}: expected`]);
      expectSameSnapshot(snapshotOf(optimizer, params), before);
    });
  });

  forEachKernel(({ options: kernel }) => {
    it.each(["weightdecay", "learningRate", "args", "parms", "max_unorm"])(
      "a misspelt name, %s: the next step throws before anything is written, and a load",
      (name) => {
        const params = randomParameters(1, [40, 7]);
        const optimizer = new LARS(params, { lr: 0.1, momentum: 0.9 }, kernel);
        runSteps(optimizer, params, 2);
        const before = snapshotOf(optimizer, params);
        const group = optimizer.paramGroups[0] as unknown as Record<string, unknown>;
        group[name] = 0.5;
        const parts = [`parameter group: unknown name "${name}"`, "weightDecay"];
        expectRefusal(() => optimizer.step(), T, parts);
        expectRefusal(() => optimizer.loadStateDict(before.state), T, parts);
        expectSameSnapshot(snapshotOf(optimizer, params), before);
        Reflect.deleteProperty(group, name);
        expect(optimizer.step().step).toBe(3);
      },
    );
  });

  it("an option that was deleted is refused", () => {
    const optimizer = new LARS([parameterOf([1], { grad: [1] })], { lr: 0.1 });
    Reflect.deleteProperty(optimizer.paramGroups[0]!, "lr");
    expectRefusal(() => optimizer.step(), T, ["lr: expected", "got undefined"]);
  });

  it("the parameters of a group stay", () => {
    const optimizer = new LARS([parameterOf([1], { grad: [1] })], { lr: 0.1 });
    const [group] = optimizer.paramGroups;
    const { params } = group!;
    expect(() => Object.assign(group!, { params: [parameterOf([1])] })).toThrow(TypeError);
    expect(Reflect.deleteProperty(group!, "params")).toBe(false);
    expect(() => (params as Parameter[]).push(parameterOf([1]))).toThrow(TypeError);
    expect(group!.params).toBe(params);
    expect(Object.keys(group!)).toContain("params");
  });

  it.each(named(wrongRules))(
    "$title: refused at once, and the rule stays",
    ({ option, options, type, shown, expected }) => {
      const optimizer = new LARS([parameterOf([1])], { lr: 0.1, trustRatio: "scale-update" });
      const group = optimizer.paramGroups[0]!;
      const kept = group.trustRatio;
      expectRefusal(() => Object.assign(group, options), type, [option, shown, expected]);
      expect(group.trustRatio).toBe(kept);
    },
  );
});

describe("a schedule that gives a wrong rate", () => {
  forEachKernel(({ options: kernel }) => {
    it.each([NaN, -1, Infinity, -Infinity, "0.1", null, undefined])(
      "%o: the step throws before anything is written, and does not count",
      (rate) => {
        const params = randomParameters(1, [40, 7]);
        let now: unknown = 0.1;
        const asked: number[] = [];
        const lr = (step: number): number => {
          asked.push(step);
          return now as number;
        };
        const optimizer = new LARS(params, { lr, momentum: 0.9 }, kernel);
        runSteps(optimizer, params, 2);
        const before = snapshotOf(optimizer, params);
        now = rate;
        const shown = typeof rate === "string" ? `"${rate}"` : String(rate);
        expectRefusal(() => optimizer.step(), R, ["lr", shown, "step 2", "a finite number ≥ 0"]);
        expectSameSnapshot(snapshotOf(optimizer, params), before);
        now = 0.1;
        optimizer.step();
        expect(asked).toEqual([0, 1, 2, 2]);
      },
    );

    it("one that throws does so through step(), and nothing is written", () => {
      const params = randomParameters(1, [40]);
      const lr = (step: number): number => {
        if (step === 1) throw new Error("no rate today");
        return 0.1;
      };
      const optimizer = new LARS(params, { lr, momentum: 0.9 }, kernel);
      runSteps(optimizer, params, 1);
      const before = snapshotOf(optimizer, params);
      expect(() => optimizer.step()).toThrow("no rate today");
      expectSameSnapshot(snapshotOf(optimizer, params), before);
    });
  });
});

describe("parameters", () => {
  const lr = { lr: 0.1 };
  const parameter = parameterOf([1]);

  it.each([
    ["an empty list", []],
    ["nothing", undefined],
    ["null", null],
    ["one parameter, not in a list", parameter],
    ["a Float32Array", new Float32Array(3)],
    ["a text", "params"],
    ["numbers", [1, 2]],
    ["an array in a list", [[parameter]]],
    ["a parameter and a group", [parameter, { params: [parameterOf([1])] }]],
    ["a group and a parameter", [{ params: [parameterOf([1])] }, parameter]],
    ["a group without parameters", [{ lr: 0.1 }]],
    ["a group with an empty list", [{ params: [] }]],
    ["a group with a parameter not in a list", [{ params: parameter }]],
    ["a group of numbers", [{ params: [1] }]],
    ["a group with null", [{ params: [parameter, null] }]],
  ])("%s is refused", (_, params) => {
    expectRefusal(() => new LARS(params as unknown as Parameter[], lr), T, ["param", "expected"]);
    const optimizer = new LARS([parameterOf([1])], lr);
    const group = { params } as unknown as ParamGroupOptions;
    expectRefusal(
      () => {
        optimizer.addParamGroup(group);
      },
      T,
      ["param", "expected"],
    );
    expect(optimizer.paramGroups.length).toBe(1);
  });

  it("given twice are refused: in a list, in a group, across groups, and in a group added later", () => {
    const a = parameterOf([1], { name: "a" });
    const b = parameterOf([1]);
    const twice = ["twice", "once"];
    expectRefusal(() => new LARS([a, b, a], lr), T, ['"a"', ...twice]);
    expectRefusal(() => new LARS([b, a, b], lr), T, ["parameter 2", ...twice]);
    expectRefusal(() => new LARS([{ params: [a, a] }], lr), T, ['"a"', ...twice]);
    expectRefusal(() => new LARS([{ params: [a] }, { params: [b, a] }], lr), T, ['"a"', ...twice]);
    const optimizer = new LARS([a], lr);
    expectRefusal(
      () => {
        optimizer.addParamGroup({ params: [b, a] });
      },
      T,
      ['"a"', ...twice],
    );
    // b did not stay behind.
    optimizer.addParamGroup({ params: [b] });
    expect(optimizer.stateDict().layers.length).toBe(2);
  });

  it("may have equal names, and arrays in common", () => {
    const data = new Float32Array(2);
    const params = [new Parameter(data, { name: "w" }), new Parameter(data, { name: "w" })];
    expect(() => new LARS(params, lr)).not.toThrow();
  });
});

describe("two copies of the library in one program", () => {
  it("a parameter of the other copy is refused, and the error says so", async () => {
    vi.resetModules();
    const other = await import("../src/index.js");
    expect(other.Parameter).not.toBe(Parameter);
    const foreign = new other.Parameter(new Float32Array(1), { name: "foreign" });
    const own = parameterOf([1]);
    const optimizer = new LARS([own], { lr: 1 });
    const parts = ["[0]: expected a Parameter of this copy", "loads the library twice"];
    expectRefusal(() => new LARS([foreign], { lr: 1 }), T, parts);
    expectRefusal(() => new LARS([{ params: [foreign] }], { lr: 1 }), T, parts);
    expectRefusal(() => new LARS([own, foreign], { lr: 1 }), T, [
      "[1]: ",
      "loads the library twice",
    ]);
    expectRefusal(() => excludeFromAdaptation([foreign]), T, parts);
    expectRefusal(
      () => {
        optimizer.addParamGroup({ params: [foreign] });
      },
      T,
      parts,
    );
    expect(optimizer.paramGroups.length).toBe(1);
    // Each copy steps its own.
    foreign.grad = Float32Array.of(1);
    new other.LARS([foreign], { lr: 1, trustRatio: "none" }).step();
    expect(foreign.data[0]).toBe(-1);
  });
});

describe("gradients", () => {
  forEachKernel(({ options: kernel }) => {
    it.each([
      ["shorter", new Float32Array(6), R, "6"],
      ["longer", new Float32Array(8), R, "8"],
      ["empty", new Float32Array(0), R, "0"],
      ["a Float64Array", new Float64Array(7), T, "a Float64Array"],
      ["an array", [1, 2, 3, 4, 5, 6, 7], T, "an array of 7"],
      ["undefined", undefined, T, "undefined"],
      ["a number", 0, T, "0"],
    ])("%s: refused with the layer's name, and nothing is written", (_, grad, type, shown) => {
      const params = randomParameters(1, [40, 7]);
      const optimizer = new LARS(params, { lr: 0.1, momentum: 0.9, percentileClipping: 5 }, kernel);
      runSteps(optimizer, params, 2);
      const before = snapshotOf(optimizer, params);
      params[1]!.grad = grad as unknown as Float32Array;
      expectRefusal(() => optimizer.step(), type, ['layer "layer b"', shown]);
      expectSameSnapshot(snapshotOf(optimizer, params), before);
    });

    it.each([
      [0, R],
      [-1, R],
      [NaN, R],
      [Infinity, R],
      ["1", T],
    ])("gradScale %o is refused, and nothing is written", (gradScale, type) => {
      const params = randomParameters(1, [40]);
      const optimizer = new LARS(params, { lr: 0.1, momentum: 0.9 }, kernel);
      runSteps(optimizer, params, 1);
      const before = snapshotOf(optimizer, params);
      const options = { gradScale } as unknown as StepOptions;
      expectRefusal(() => optimizer.step(options), type, ["gradScale", "a finite number > 0"]);
      expectSameSnapshot(snapshotOf(optimizer, params), before);
    });
  });

  it("unknown step options are refused", () => {
    const optimizer = new LARS([parameterOf([1], { grad: [1] })], { lr: 1 });
    expectRefusal(() => optimizer.step({ gradscale: 1 } as unknown as StepOptions), T, [
      'unknown name "gradscale"',
      "gradScale",
    ]);
    expectRefusal(() => optimizer.step(0.5 as unknown as StepOptions), T, ["step options"]);
  });
});

describe("kernel options", () => {
  const make = (options: unknown): LARS =>
    new LARS([parameterOf([1])], { lr: 1 }, options as KernelOptions);

  it("an unknown name or kernel is refused", () => {
    expectRefusal(() => make({ kernels: "wasm" }), T, ['unknown name "kernels"', "kernel"]);
    expectRefusal(() => make({ kernel: "webgpu" }), R, ["kernel", '"webgpu"', '"wasm"']);
    expectRefusal(() => make("wasm"), T, ["kernel options"]);
    expectRefusal(() => make(null), T, ["kernel options"]);
  });

  it("undefined is the default", () => {
    expect(() => make({ kernel: undefined })).not.toThrow();
    expect(() => make(undefined)).not.toThrow();
  });
});

describe("LARS8bit and LARS32bit", () => {
  const params = [parameterOf([1])];

  it("refuse other bits", () => {
    const eight = ["optimBits", "got 32", "8 under LARS8bit"];
    const wide = ["optimBits", "got 8", "32 under LARS32bit"];
    expectRefusal(() => new LARS8bit(params, { lr: 1, optimBits: 32 }), R, eight);
    expectRefusal(() => new LARS8bit(params, { lr: 1, args: { optimBits: 32 } }), R, eight);
    expectRefusal(() => new LARS32bit(params, { lr: 1, optimBits: 8 }), R, wide);
    expectRefusal(() => new LARS32bit(params, { lr: 1, args: { optimBits: 8 } }), R, wide);
  });

  it("LARS32bit refuses groups with 8, at any time", () => {
    const wide = ["optimBits", "got 8", "32 under LARS32bit"];
    expectRefusal(() => new LARS32bit([{ params, optimBits: 8 }], { lr: 1 }), R, wide);
    const optimizer = new LARS32bit([parameterOf([1], { grad: [1] })], { lr: 1, momentum: 0.9 });
    expectRefusal(
      () => {
        optimizer.addParamGroup({ params, args: { optimBits: 8 } });
      },
      R,
      wide,
    );
    optimizer.paramGroups[0]!.optimBits = 8;
    expectRefusal(() => optimizer.step(), R, wide);
    expect(optimizer.stateDict().step).toBe(0);
  });

  it("refuse everything that LARS refuses", () => {
    for (const Fixed of [LARS8bit, LARS32bit]) {
      expectRefusal(() => new Fixed([], { lr: 1 }), T, ["params"]);
      expectRefusal(() => new Fixed(params, {} as unknown as LARSOptions), T, ["lr"]);
      expectRefusal(() => new Fixed(params, null as unknown as LARSOptions), T, ["options"]);
      expectRefusal(() => new Fixed(params, { lr: 1, momentum: 1 }), R, ["momentum"]);
      const options = { lr: 1, optimBits: 16 } as unknown as LARSOptions;
      expectRefusal(() => new Fixed(params, options), R, ["optimBits", "16"]);
    }
  });
});
