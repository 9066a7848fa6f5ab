/** State in and out of an optimizer. What continues after loading has the same bits as what never stopped. */
import { describe, expect, it } from "vitest";
import { decodeCheckpoint, encodeCheckpoint } from "../src/checkpoint.js";
import { LARS, LARS32bit, LARS8bit } from "../src/index.js";
import type { LARSOptions, Parameter, StateDict } from "../src/index.js";
import { dequantizeBlockwise, quantizeBlockwise } from "../src/quantization.js";
import { forEachKernel, reference, wasm } from "./helpers/kernels.js";
import { expectSameBits } from "./helpers/numbers.js";
import {
  blockwiseMomentum,
  expectSameSnapshot,
  expectSameState,
  float32Momentum,
  gradientAt,
  parameterOf,
  randomParameters,
  runSteps,
  snapshotOf,
} from "./helpers/problem.js";

const SIZES = [300, 7, 4096, 40_000];

const settings: LARSOptions = {
  lr: (step) => 0.1 / (step + 1),
  momentum: 0.9,
  weightDecay: 0.001,
};

const variants: Record<string, Partial<LARSOptions>> = {
  "32 bits": {},
  "8 bits": { optimBits: 8, min8bitSize: 1 },
  "8 bits, small layers in 32": { optimBits: 8 },
  "32 bits, percentile clipping": { percentileClipping: 20 },
  "8 bits, percentile clipping": { optimBits: 8, percentileClipping: 20, min8bitSize: 100 },
  "dampening, a rule before the momentum": {
    dampening: 0.2,
    trustRatio: { rule: "scale-gradient", momentumOrder: "torch", coefficient: 0.02 },
  },
  "no momentum": { momentum: 0 },
  "everything at once": {
    optimBits: 8,
    min8bitSize: 300,
    percentileClipping: 50,
    maxGradNorm: 100,
    nesterov: true,
    skipZeros: true,
    trustRatio: { rule: "scale-gradient", denominator: "joint" },
  },
};

/** How a state gets from one optimizer to the next. */
const ways: Record<string, (state: StateDict) => StateDict> = {
  "stateDict, loadStateDict": (state) => state,
  "structuredClone, as between workers": (state) => structuredClone(state),
  "a checkpoint's bytes": (state) => decodeCheckpoint(encodeCheckpoint(state)),
};

/** Parameters on copies of the weights of others. */
function copies(params: readonly Parameter[]): Parameter[] {
  return params.map(({ data, name }) => parameterOf(data, name === undefined ? {} : { name }));
}

describe("save, load, continue: the same bits as not stopping", () => {
  forEachKernel(({ options: kernel }) => {
    describe.each(Object.entries(variants))("%s", (_, variant) => {
      it.each(Object.entries(ways))("%s", (_way, carry) => {
        const options = { ...settings, ...variant };
        const params = randomParameters(1, SIZES);
        const optimizer = new LARS(params, options, kernel);
        runSteps(optimizer, params, 3, { zeros: 0.2 });

        const resumed = copies(params);
        const next = new LARS(resumed, options, kernel);
        const report = next.loadStateDict(carry(optimizer.stateDict()));
        expect(report).toEqual({ converted: [] });
        expectSameSnapshot(snapshotOf(next, resumed), snapshotOf(optimizer, params));
        expect(next.stateBytes).toBe(optimizer.stateBytes);

        runSteps(optimizer, params, 3, { from: 3, zeros: 0.2 });
        runSteps(next, resumed, 3, { from: 3, zeros: 0.2 });
        expectSameSnapshot(snapshotOf(next, resumed), snapshotOf(optimizer, params));
      });
    });

    it("into an optimizer that has steps behind it", () => {
      const params = randomParameters(1, SIZES);
      const optimizer = new LARS(params, settings, kernel);
      runSteps(optimizer, params, 2);
      const saved = snapshotOf(optimizer, params);
      runSteps(optimizer, params, 2, { from: 2 });
      const first = snapshotOf(optimizer, params);
      params.forEach(({ data }, index) => {
        data.set(saved.weights[index]!);
      });
      optimizer.loadStateDict(saved.state);
      runSteps(optimizer, params, 2, { from: 2 });
      expectSameSnapshot(snapshotOf(optimizer, params), first);
    });

    it("with layers that have no gradient yet: their first step is still their first", () => {
      const make = (params: Parameter[]): LARS =>
        new LARS(params, { ...settings, dampening: 0.5 }, kernel);
      const params = randomParameters();
      const optimizer = make(params);
      params[0]!.grad = gradientAt(0, 0, params[0]!.size);
      optimizer.step();
      const resumed = copies(params);
      const next = make(resumed);
      next.loadStateDict(optimizer.stateDict());
      expect(next.stateDict().layers.map(({ step }) => step)).toEqual([1, 0, 0]);
      runSteps(optimizer, params, 2, { from: 1 });
      runSteps(next, resumed, 2, { from: 1 });
      expectSameSnapshot(snapshotOf(next, resumed), snapshotOf(optimizer, params));
    });
  });

  it("between kernels: the state has the same bits in the other one", () => {
    for (const optimBits of [8, 32] as const) {
      for (const [from, to] of [
        [reference, wasm],
        [wasm, reference],
      ] as const) {
        const params = randomParameters(1, SIZES);
        const options = { ...settings, optimBits, percentileClipping: 5 };
        const optimizer = new LARS(params, options, from.options);
        runSteps(optimizer, params, 3);
        const other = new LARS(copies(params), options, to.options);
        other.loadStateDict(optimizer.stateDict());
        expectSameState(other.stateDict(), optimizer.stateDict());
      }
    }
  });
});

describe("stateDict", () => {
  forEachKernel(({ options: kernel }) => {
    it("is plain: numbers, texts and ordinary typed arrays", () => {
      const params = [
        ...randomParameters(1, [300, 7]),
        parameterOf([1, 2, 3, 4, 5, 6], { shape: [2, 3] }),
      ];
      const optimizer = new LARS(
        params,
        { ...settings, optimBits: 8, min8bitSize: 100, percentileClipping: 50 },
        kernel,
      );
      expect(optimizer.stateDict()).toEqual({
        step: 0,
        layers: [
          { name: "layer a", shape: [300], step: 0, momentum: null, gradientHistory: null },
          { name: "layer b", shape: [7], step: 0, momentum: null, gradientHistory: null },
          { name: null, shape: [2, 3], step: 0, momentum: null, gradientHistory: null },
        ],
      });
      runSteps(optimizer, params, 1);
      const state = optimizer.stateDict();
      expect(state).toMatchObject({
        step: 1,
        layers: [
          { step: 1, momentum: { kind: "blockwise" } },
          { step: 1, momentum: { kind: "float32" } },
          { step: 1, momentum: { kind: "float32" } },
        ],
      });
      const { codes, absmax } = blockwiseMomentum(optimizer);
      for (const array of [codes, absmax, float32Momentum(optimizer, 1)]) {
        expect(array.buffer).toBeInstanceOf(ArrayBuffer);
        expect(array.byteLength).toBe(array.buffer.byteLength);
      }
      expect([codes.length, absmax.length]).toEqual([300, 2]);
      expect(state.layers[0]!.gradientHistory).toBeInstanceOf(Float64Array);
    });

    it("is a copy, both ways", () => {
      const params = randomParameters();
      const options = { ...settings, percentileClipping: 50 };
      const optimizer = new LARS(params, options, kernel);
      runSteps(optimizer, params, 1);
      const state = optimizer.stateDict();
      const untouched = structuredClone(state);
      runSteps(optimizer, params, 1, { from: 1 });
      expectSameState(state, untouched);

      const other = new LARS(copies(params), options, kernel);
      other.loadStateDict(state);
      const [layer] = state.layers;
      if (layer!.momentum?.kind === "float32") layer!.momentum.values.fill(9);
      layer!.gradientHistory!.fill(9);
      layer!.shape[0] = 9;
      layer!.step = 9;
      expectSameState(other.stateDict(), untouched);
    });
  });
});

describe("state of other bits", () => {
  forEachKernel(({ options: kernel }) => {
    it("saved with 32 bits loads into 8, quantised, and the report says so", () => {
      const params = randomParameters();
      const wide = new LARS32bit(params, settings, kernel);
      runSteps(wide, params, 2);
      const narrow = new LARS8bit(copies(params), { ...settings, min8bitSize: 10 }, kernel);
      expect(narrow.loadStateDict(wide.stateDict())).toEqual({
        converted: [
          { layer: "layer a", from: "float32", to: "blockwise" },
          { layer: "layer c", from: "float32", to: "blockwise" },
        ],
      });
      for (const layer of [0, 2]) {
        const expected = quantizeBlockwise(float32Momentum(wide, layer));
        const { codes, absmax } = blockwiseMomentum(narrow, layer);
        expectSameBits(codes, expected.codes, "codes");
        expectSameBits(absmax, expected.absmax, "absmax");
      }
      expectSameBits(float32Momentum(narrow, 1), float32Momentum(wide, 1));
      expect(narrow.stateDict().step).toBe(2);
    });

    it("saved with 8 bits loads into 32, as what the codes stand for, and the report says so", () => {
      const params = randomParameters();
      const narrow = new LARS8bit(params, { ...settings, min8bitSize: 10 }, kernel);
      runSteps(narrow, params, 2);
      const wide = new LARS32bit(copies(params), settings, kernel);
      expect(wide.loadStateDict(narrow.stateDict())).toEqual({
        converted: [
          { layer: "layer a", from: "blockwise", to: "float32" },
          { layer: "layer c", from: "blockwise", to: "float32" },
        ],
      });
      for (const layer of [0, 2]) {
        expectSameBits(
          float32Momentum(wide, layer),
          dequantizeBlockwise(blockwiseMomentum(narrow, layer)),
        );
      }
    });

    it("into momentum 0 is dropped, and the report says so", () => {
      const params = randomParameters();
      const optimizer = new LARS(params, settings, kernel);
      runSteps(optimizer, params, 1);
      const other = new LARS(copies(params), { lr: 0.1 }, kernel);
      expect(other.loadStateDict(optimizer.stateDict()).converted).toEqual(
        params.map(({ name }) => ({ layer: name, from: "float32", to: "none" })),
      );
      expect(other.stateBytes).toBe(0);
    });

    it("without momentum into momentum: the next step is a first one", () => {
      const params = randomParameters();
      const optimizer = new LARS(params, { lr: 0.1 }, kernel);
      runSteps(optimizer, params, 2);
      const other = new LARS(copies(params), { ...settings, dampening: 0.5 }, kernel);
      expect(other.loadStateDict(optimizer.stateDict())).toEqual({ converted: [] });
      expect(other.stateDict().step).toBe(2);
      expect(other.stateBytes).toBe(0);
    });
  });
});

describe("layers are matched", () => {
  const make = (params: Parameter[]): LARS => new LARS(params, settings);

  it("by name when all have distinct names, in any order and grouping", () => {
    const params = randomParameters();
    const optimizer = make(params);
    runSteps(optimizer, params, 1);
    const [a, b, c] = copies(params);
    const other = new LARS([{ params: [c!] }, { params: [a!, b!] }], settings);
    other.loadStateDict(optimizer.stateDict());
    expect(other.stateDict().layers.map(({ name }) => name)).toEqual([
      "layer c",
      "layer a",
      "layer b",
    ]);
    expectSameBits(float32Momentum(other, 0), float32Momentum(optimizer, 2));
    expectSameBits(float32Momentum(other, 1), float32Momentum(optimizer, 0));
  });

  it.each([
    ["the optimizer's have no names", [undefined, undefined], ["x", "y"]],
    ["the state's have no names", ["x", "y"], [undefined, undefined]],
    ["one has no name", ["x", undefined], ["x", "y"]],
    ["two have the same name", ["x", "x"], ["x", "y"]],
    ["two of the state have the same name", ["x", "y"], ["y", "y"]],
  ])("by position when %s", (_, ours, theirs) => {
    const named = (names: (string | undefined)[]): Parameter[] =>
      names.map((name) => parameterOf([1, 2], name === undefined ? {} : { name }));
    const from = named(theirs);
    const optimizer = make(from);
    runSteps(optimizer, from, 1);
    const other = make(named(ours));
    other.loadStateDict(optimizer.stateDict());
    for (const layer of [0, 1]) {
      expectSameBits(float32Momentum(other, layer), float32Momentum(optimizer, layer));
    }
  });

  it("names like those of every object's own properties are names", () => {
    const names = ["__proto__", "constructor", "toString", ""];
    const named = (): Parameter[] => names.map((name, size) => parameterOf([size], { name }));
    const params = named();
    const optimizer = make(params);
    runSteps(optimizer, params, 1);
    const other = make(named().reverse());
    other.loadStateDict(decodeCheckpoint(encodeCheckpoint(optimizer.stateDict())));
    names.forEach((_, layer) => {
      expectSameBits(float32Momentum(other, 3 - layer), float32Momentum(optimizer, layer));
    });
  });
});

describe("a state that does not fit is refused, and nothing is loaded", () => {
  const options: LARSOptions = { ...settings, percentileClipping: 50 };

  function saved(params = randomParameters()): StateDict {
    const optimizer = new LARS(params, { ...options, optimBits: 8, min8bitSize: 400 });
    runSteps(optimizer, params, 2);
    return optimizer.stateDict();
  }

  function expectRefused(state: unknown, parts: RegExp[], type: unknown = Error): void {
    forEachLoaded((optimizer, params) => {
      const before = snapshotOf(optimizer, params);
      let thrown: unknown;
      try {
        optimizer.loadStateDict(state as StateDict);
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(type);
      expect(thrown instanceof TypeError || thrown instanceof RangeError).toBe(true);
      for (const part of parts) expect((thrown as Error).message).toMatch(part);
      expectSameSnapshot(snapshotOf(optimizer, params), before);
    });
  }

  function forEachLoaded(check: (optimizer: LARS, params: Parameter[]) => void): void {
    for (const { options: kernel } of [reference, wasm]) {
      const params = randomParameters();
      const optimizer = new LARS(params, options, kernel);
      runSteps(optimizer, params, 1);
      check(optimizer, params);
      optimizer.dispose();
    }
  }

  it("another shape: names the layer and both shapes, also when the size is the same", () => {
    const other = randomParameters();
    other[1] = parameterOf(new Float32Array(8), { name: "layer b", shape: [2, 4] });
    expectRefused(saved(other), [/"layer b"/, /\[7\]/, /\[2, 4\]/], RangeError);
    other[1] = parameterOf(new Float32Array(7), { name: "layer b", shape: [7, 1] });
    expectRefused(saved(other), [/"layer b"/, /\[7\]/, /\[7, 1\]/], RangeError);
  });

  it("another shape by position: names the layer, the state's layer and both shapes", () => {
    const state = saved();
    state.layers.reverse();
    for (const layer of state.layers) layer.name = "same";
    expectRefused(state, [/"layer a"/, /\[300\]/, /"same"/, /\[513\]/], RangeError);
  });

  it("a layer that is not in the state: names it with its shape, and says what is there", () => {
    const state = saved();
    state.layers[1]!.name = "renamed";
    expectRefused(state, [/"layer b"/, /\[7\]/, /"layer a" \[300\]/, /"renamed"/], RangeError);
  });

  it("another number of layers", () => {
    const state = saved();
    expectRefused({ ...state, layers: state.layers.slice(1) }, [/2 layers/, /3/], RangeError);
    const [first] = state.layers;
    expectRefused({ ...state, layers: [...state.layers, first] }, [/4 layers/, /3/], RangeError);
  });

  it.each([null, undefined, 3, "state", [], new Float32Array(3), { layers: [] }, { step: 1 }])(
    "no state at all: %o",
    (state) => {
      expectRefused(state, [/state/]);
    },
  );

  const edits: [
    string,
    (layer: Record<string, unknown>, state: Record<string, unknown>) => void,
  ][] = [
    ["a negative step", (_, state) => (state.step = -1)],
    ["a step that is no whole number", (_, state) => (state.step = 1.5)],
    ["a step that is a text", (_, state) => (state.step = "2")],
    ["a layer's negative step", (layer) => (layer.step = -1)],
    ["a layer's step missing", (layer) => delete layer.step],
    ["layers that are no list", (_, state) => (state.layers = {})],
    ["a layer that is null", (_, state) => ((state.layers as unknown[])[1] = null)],
    ["a name that is a number", (layer) => (layer.name = 5)],
    ["a name that is missing", (layer) => delete layer.name],
    ["a shape that is a number", (layer) => (layer.shape = 300)],
    ["a shape with a text", (layer) => (layer.shape = ["300"])],
    ["a shape with 0", (layer) => (layer.shape = [0, 300])],
    ["a shape with a fraction", (layer) => (layer.shape = [0.5, 600])],
    ["momentum missing", (layer) => delete layer.momentum],
    ["momentum that is an array", (layer) => (layer.momentum = new Float32Array(300))],
    ["momentum of another kind", (layer) => (layer.momentum = { kind: "float16" })],
    [
      "momentum of another length",
      (layer) => (layer.momentum = { kind: "float32", values: new Float32Array(299) }),
    ],
    [
      "momentum of another type",
      (layer) => (layer.momentum = { kind: "float32", values: new Float64Array(300) }),
    ],
    [
      "codes of another length",
      (layer) =>
        (layer.momentum = {
          kind: "blockwise",
          codes: new Uint8Array(301),
          absmax: new Float32Array(2),
        }),
    ],
    [
      "codes of another type",
      (layer) =>
        (layer.momentum = {
          kind: "blockwise",
          codes: new Uint8ClampedArray(300),
          absmax: new Float32Array(2),
        }),
    ],
    [
      "an absmax too few",
      (layer) =>
        (layer.momentum = {
          kind: "blockwise",
          codes: new Uint8Array(300),
          absmax: new Float32Array(1),
        }),
    ],
    ["a history of another length", (layer) => (layer.gradientHistory = new Float64Array(99))],
    ["a history of another type", (layer) => (layer.gradientHistory = new Float32Array(100))],
    ["a history missing", (layer) => delete layer.gradientHistory],
    ["a step beyond 2^53", (_, state) => (state.step = 2 ** 53)],
    ["a layer's step beyond 2^53", (layer) => (layer.step = 1e300)],
    ["a layer's step NaN", (layer) => (layer.step = NaN)],
    ["a sparse list of layers", (_, state) => (state.layers = new Array<unknown>(4))],
    ["a sparse shape", (layer) => (layer.shape = Object.assign(new Array(2), { 1: 300 }))],
    ["a shape that is a typed array", (layer) => (layer.shape = Int32Array.of(300))],
    ["a shape that is a text", (layer) => (layer.shape = "300")],
    ["a shape beyond 2^53", (layer) => (layer.shape = [2 ** 40, 2 ** 40])],
    ["a nested shape", (layer) => (layer.shape = [[300]])],
    ["a name with a lone surrogate", (layer) => (layer.name = "\ud800")],
  ];

  it.each(edits)("%s", (_, edit) => {
    const state = saved() as unknown as Record<string, unknown>;
    edit((state.layers as Record<string, unknown>[])[0]!, state);
    expectRefused(state, [/state/]);
  });

  it("a name, a step or a shape that is wrong: names the layer", () => {
    const [first, ...others] = saved().layers;
    const withFirst = (changes: object): unknown => ({
      step: 2,
      layers: [{ ...first, ...changes }, ...others],
    });
    const place = /^state: layers\[0\] \("layer a"\)/;
    expectRefused(withFirst({ step: 2 ** 53 }), [
      place,
      /\.step: expected .*, got 9007199254740992/,
    ]);
    expectRefused(withFirst({ shape: [300, 2.5] }), [place, /\.shape: .*got \[300, 2\.5\]/]);
    expectRefused(withFirst({ shape: "300" }), [place, /\.shape: .*got "300"/], TypeError);
    expectRefused(withFirst({ name: "\ud800" }), [/layers\[0\]\.name: .*"\\ud800"/], TypeError);
  });

  describe.each([NaN, Infinity, -Infinity, -1])("a value of %d", (value) => {
    /** A saved state with the value in one of its arrays. */
    function broken(layer: number, field: "values" | "absmax" | "history"): StateDict {
      const state = saved();
      const { momentum, gradientHistory } = state.layers[layer]!;
      if (field === "history") gradientHistory![1] = value;
      else if (field === "values" && momentum?.kind === "float32") momentum.values[1] = value;
      else if (field === "absmax" && momentum?.kind === "blockwise") momentum.absmax[1] = value;
      else expect.fail(`layer ${layer} has no ${field}`);
      return state;
    }

    function expectNamed(state: StateDict, place: string): void {
      const escaped = place.replace(/[[\]().]/g, "\\$&");
      const message = new RegExp(`^state: ${escaped}: expected a finite number.*, got ${value}$`);
      expectRefused(state, [message], RangeError);
      expect(() => encodeCheckpoint(state)).toThrow(message);
    }

    it("in a history, or as an absmax: names layer and element", () => {
      expectNamed(broken(1, "history"), 'layers[1] ("layer b").gradientHistory[1]');
      expectNamed(broken(2, "absmax"), 'layers[2] ("layer c").momentum.absmax[1]');
    });

    it("in the momentum: names layer and element; momentum may be negative", () => {
      const state = broken(0, "values");
      if (value === -1) expect(() => encodeCheckpoint(state)).not.toThrow();
      else expectNamed(state, 'layers[0] ("layer a").momentum.values[1]');
    });
  });

  it("does not touch what it was given, and may be frozen", () => {
    const state = saved();
    const copy = structuredClone(state);
    const frozen = Object.freeze({ ...state, layers: Object.freeze(state.layers) });
    forEachLoaded((optimizer) => {
      optimizer.loadStateDict(frozen as StateDict);
    });
    expectSameState(state, copy);
  });

  it("by a group with a wrong live option: the state stays", () => {
    const state = saved();
    forEachLoaded((optimizer, params) => {
      const before = snapshotOf(optimizer, params);
      optimizer.paramGroups[0]!.momentum = 2;
      expect(() => optimizer.loadStateDict(state)).toThrow(/momentum: .*got 2/);
      expectSameSnapshot(snapshotOf(optimizer, params), before);
    });
  });
});
