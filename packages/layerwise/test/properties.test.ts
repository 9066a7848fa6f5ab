/** Laws that hold for all options and all layers: those of each rule, and those of every step. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LARS, Parameter } from "../src/index.js";
import type { LARSOptions, Momentum, StepReport } from "../src/index.js";
import { codebookMidpoints, createDynamicMap } from "../src/state/codebook.js";
import {
  anyLayers,
  anyRule,
  between,
  clipUpdate,
  gradientOf,
  layerOf,
  noRule,
  optionsWith,
  parametersOf,
  runs,
  scaleGradient,
  scaleUpdate,
  setGradients,
  weightsOf,
} from "./helpers/arbitraries.js";
import type { DrawnOptions, LayerShape } from "./helpers/arbitraries.js";
import { forEachKernel, reference, wasm } from "./helpers/kernels.js";
import type { TestedKernel } from "./helpers/kernels.js";
import {
  distance,
  expectSameBits,
  largestMagnitude,
  normOf,
  relativeDifference,
} from "./helpers/numbers.js";
import {
  allocatedOf,
  blockwiseMomentum,
  expectSameLayerState,
  expectSameSnapshot,
  float32Momentum,
  parameterOf,
  snapshotOf,
} from "./helpers/problem.js";
import type { Snapshot } from "./helpers/problem.js";

const STEPS = 3;

/** What storing weights in float32 can add to a distance: half an ulp of each element, twice over. */
function storageError(...weights: Float32Array[]): number {
  return 2 ** -23 * Math.max(...weights.map(normOf));
}

/** Layers whose gradient is not all zero, and in which no single element decides, whose terms may cancel. */
const denseLayer = layerOf(
  fc.oneof(
    { arbitrary: fc.integer({ min: 16, max: 2000 }), weight: 9 },
    { arbitrary: fc.integer({ min: 32_000, max: 40_000 }), weight: 1 },
  ),
).map((layer) => ({ ...layer, zeros: Math.min(layer.zeros, 0.3) }));

describe("scaling laws", () => {
  forEachKernel(({ options: kernel }) => {
    it("scale-gradient: g and λ times a constant move the weights the same, to 2e-6 of the layer's scale (float32 rounding of the products)", () => {
      const rule = scaleGradient.map((fields) => ({ ...fields, eps: 0, clip: false }));
      const options = optionsWith(rule).map((drawn) => ({ ...drawn, maxGradNorm: null }));
      const factor = fc.oneof(between(1e-3, 1e3), fc.constantFrom(2 ** -20, 2 ** 20));
      fc.assert(
        fc.property(options, denseLayer, factor, (drawn, layer, times) => {
          const [params, scaled] = [parametersOf([layer]), parametersOf([layer])];
          const optimizer = new LARS(params, drawn, kernel);
          const other = new LARS(
            scaled,
            { ...drawn, weightDecay: drawn.weightDecay * times },
            kernel,
          );
          for (let step = 0; step < STEPS; step++) {
            setGradients(params, [layer], step);
            setGradients(scaled, [layer], step, times);
            optimizer.step();
            other.step();
            const scale = Math.max(
              largestMagnitude(params[0]!.data),
              largestMagnitude(weightsOf(layer)),
            );
            expect(relativeDifference(scaled[0]!.data, params[0]!.data, scale)).toBeLessThanOrEqual(
              2e-6,
            );
          }
        }),
        runs(60),
      );
    });

    it("clip-update: a step moves the weights by at most γ·maxUnorm·‖w‖, for any gradient", () => {
      const rule = clipUpdate.map((fields) => ({
        ...fields,
        maxUnorm: Math.max(0.001, fields.maxUnorm),
      }));
      fc.assert(
        fc.property(optionsWith(rule), layerOf(), (options, layer) => {
          const params = parametersOf([layer]);
          const optimizer = new LARS(params, options, kernel);
          const { maxUnorm } = optimizer.paramGroups[0]!;
          for (let step = 0; step < STEPS; step++) {
            const before = params[0]!.data.slice();
            setGradients(params, [layer], step, 10 ** step);
            optimizer.step();
            const limit = options.lr * maxUnorm * normOf(before);
            const moved = distance(params[0]!.data, before);
            expect(moved).toBeLessThanOrEqual(
              limit * (1 + 2e-6) + storageError(before, params[0]!.data),
            );
          }
        }),
        runs(80),
      );
    });

    it("scale-update: a step moves the weights by γ·η·‖w‖, for any gradient", () => {
      const rule = scaleUpdate.map((fields) => ({ ...fields, eps: 0 }));
      fc.assert(
        fc.property(optionsWith(rule), denseLayer, (options, layer) => {
          const params = parametersOf([layer]);
          const optimizer = new LARS(params, options, kernel);
          const { coefficient } = options.trustRatio;
          for (let step = 0; step < STEPS; step++) {
            const before = params[0]!.data.slice();
            setGradients(params, [layer], step, 10 ** -step);
            const { updateNorm } = optimizer.step().layers[0]!;
            fc.pre(updateNorm > 0);
            const expected = options.lr * coefficient * normOf(before);
            const moved = distance(params[0]!.data, before);
            expect(Math.abs(moved - expected)).toBeLessThanOrEqual(
              expected * 2e-6 + storageError(before, params[0]!.data),
            );
          }
        }),
        runs(80),
      );
    });

    it("scale-gradient with clip: without momentum a step moves the weights by at most γ·‖d‖ and η·‖w‖", () => {
      const rule = scaleGradient.map((fields) => ({
        ...fields,
        clip: true,
        eps: 0,
        denominator: "joint" as const,
      }));
      const options = optionsWith(rule).map((drawn) => ({
        ...drawn,
        momentum: 0,
        nesterov: false,
        dampening: 0,
        weightDecay: 0,
        percentileClipping: 100,
        maxGradNorm: null,
      }));
      fc.assert(
        fc.property(options, layerOf(), (drawn, layer) => {
          const params = parametersOf([layer]);
          const optimizer = new LARS(params, drawn, kernel);
          const { coefficient } = drawn.trustRatio;
          const before = params[0]!.data.slice();
          setGradients(params, [layer], 0);
          optimizer.step();
          const moved = distance(params[0]!.data, before);
          const limit = Math.min(drawn.lr * normOf(params[0]!.grad!), coefficient * normOf(before));
          expect(Math.abs(moved - limit)).toBeLessThanOrEqual(
            limit * 2e-6 + storageError(before, params[0]!.data),
          );
        }),
        runs(60),
      );
    });
  });
});

describe("layers", () => {
  const bits = fc.constantFrom(8 as const, 32 as const);

  function stepped(
    layers: readonly LayerShape[],
    options: LARSOptions,
    { options: kernel }: TestedKernel,
  ): { optimizer: LARS; params: Parameter[] } {
    const params = parametersOf(layers);
    const optimizer = new LARS(params, options, kernel);
    for (let step = 0; step < STEPS; step++) {
      setGradients(params, layers, step);
      optimizer.step();
    }
    return { optimizer, params };
  }

  forEachKernel((kernel) => {
    it("in another order get the same bits", () => {
      // The global norm is a sum over layers, whose last bit depends on their order: see the next test.
      const options = optionsWith(anyRule).map((drawn) => ({ ...drawn, maxGradNorm: null }));
      fc.assert(
        fc.property(
          fc.array(layerOf(fc.integer({ min: 1, max: 3000 })), { minLength: 2, maxLength: 5 }),
          options,
          bits,
          fc.array(fc.nat(), { minLength: 5, maxLength: 5 }),
          (layers, drawn, optimBits, order) => {
            const all = { ...drawn, optimBits, min8bitSize: 300 };
            const permutation = layers
              .map((_, index) => index)
              .sort((a, b) => order[a]! - order[b]!);
            const straight = stepped(layers, all, kernel);
            const permuted = stepped(
              permutation.map((index) => layers[index]!),
              all,
              kernel,
            );
            const states = [straight, permuted].map(({ optimizer }) => optimizer.stateDict());
            permutation.forEach((from, to) => {
              expectSameBits(permuted.params[to]!.data, straight.params[from]!.data);
              expectSameLayerState(
                { ...states[1]!.layers[to]!, name: null },
                { ...states[0]!.layers[from]!, name: null },
              );
            });
          },
        ),
        runs(40),
      );
    });

    it("in another order under maxGradNorm agree to 2e-7 (one ulp of float32, from the order of a float64 sum)", () => {
      const settings = optionsWith(anyRule).map((drawn) => ({ ...drawn, maxGradNorm: 1 }));
      fc.assert(
        fc.property(
          fc.array(layerOf(fc.integer({ min: 1, max: 500 })), { minLength: 2, maxLength: 5 }),
          settings,
          (layers, options) => {
            const straight = stepped(layers, options, kernel);
            const reversed = stepped([...layers].reverse(), options, kernel);
            straight.params.forEach(({ data }, index) => {
              const other = reversed.params[layers.length - 1 - index]!.data;
              expect(relativeDifference(other, data)).toBeLessThanOrEqual(2e-7);
            });
          },
        ),
        runs(30),
      );
    });

    it("do not influence each other without maxGradNorm: alone, or in groups of their own, the same bits", () => {
      const options = optionsWith(anyRule).map((drawn) => ({ ...drawn, maxGradNorm: null }));
      fc.assert(
        fc.property(anyLayers, options, bits, (layers, drawn, optimBits) => {
          const all = { ...drawn, optimBits, min8bitSize: 300 };
          const together = stepped(layers, all, kernel);
          layers.forEach((layer, index) => {
            const alone = stepped([layer], all, kernel);
            expectSameBits(alone.params[0]!.data, together.params[index]!.data);
          });
        }),
        runs(30),
      );
    });
  });
});

describe("8-bit momentum stays within its quantisation error of 32-bit momentum", () => {
  /** Half of the widest gap between codes, 0.9 / 64, with the rounding of the codebook. */
  const QUANTUM = 0.9 / 128 + 1e-6;
  const eightBits = { optimBits: 8, min8bitSize: 1 } as const;

  forEachKernel(({ options: kernel }) => {
    it("over steps without a ratio, element by element: γ·Σ μ^k · 0.00703 · absmax", () => {
      const options = optionsWith(noRule).map((drawn) => ({
        ...drawn,
        momentum: Math.max(0.1, drawn.momentum),
        weightDecay: 0,
        skipZeros: false,
      }));
      fc.assert(
        fc.property(options, layerOf(), (drawn, layer) => {
          const [wide, narrow] = [parametersOf([layer]), parametersOf([layer])];
          const exact = new LARS(wide, drawn, kernel);
          const quantised = new LARS(narrow, { ...drawn, ...eightBits }, kernel);
          /** By block: how far the stored momentum, and the weights, can be off. */
          const stored = new Float64Array(Math.ceil(layer.size / 256));
          const weights = new Float64Array(stored.length);
          for (let step = 0; step < 5; step++) {
            setGradients(wide, [layer], step);
            setGradients(narrow, [layer], step);
            exact.step();
            quantised.step();
            const ahead = drawn.nesterov ? drawn.momentum : 1;
            blockwiseMomentum(quantised).absmax.forEach((absmax, block) => {
              const carried = drawn.momentum * stored[block]!;
              weights[block]! += drawn.lr * ahead * carried;
              stored[block] = carried + QUANTUM * absmax;
            });
            const rounding =
              5e-7 * Math.max(largestMagnitude(wide[0]!.data), largestMagnitude(weightsOf(layer)));
            const { data } = narrow[0]!;
            const beyond = wide[0]!.data.findIndex((weight, index) => {
              const limit = weights[Math.floor(index / 256)]! + rounding;
              return !(Math.abs(data[index]! - weight) <= limit);
            });
            expect(beyond, "the first element that is further off").toBe(-1);
          }
        }),
        runs(25),
      );
    });

    it("in one step under every rule, from the same state: by the norm of what quantising the momentum lost", () => {
      fc.assert(
        fc.property(optionsWith(anyRule), denseLayer, (drawn, layer) => {
          const options = { ...drawn, momentum: Math.max(0.1, drawn.momentum) };
          const wide = parametersOf([layer]);
          const exact = new LARS(wide, options, kernel);
          for (let step = 0; step < STEPS; step++) {
            setGradients(wide, [layer], step);
            exact.step();
          }
          const narrow = parametersOf([layer]);
          narrow[0]!.data.set(wide[0]!.data);
          const quantised = new LARS(narrow, { ...options, ...eightBits }, kernel);
          quantised.loadStateDict(exact.stateDict());
          const before = wide[0]!.data.slice();
          const lost = new LARS(parametersOf([layer]), options, kernel);
          lost.loadStateDict(quantised.stateDict());
          const loss = distance(float32Momentum(lost), float32Momentum(exact));
          const blocks = blockwiseMomentum(quantised).absmax;
          expect(loss).toBeLessThanOrEqual(16 * QUANTUM * normOf(blocks));

          setGradients(wide, [layer], STEPS);
          setGradients(narrow, [layer], STEPS);
          const report = exact.step().layers[0]!;
          quantised.step();
          const lookahead = options.nesterov ? options.momentum : 1;
          const updateLoss = options.momentum * lookahead * loss;
          const limit = movedApart(options, updateLoss, report);
          expect(distance(narrow[0]!.data, wide[0]!.data)).toBeLessThanOrEqual(
            limit * (1 + 1e-5) + 8 * storageError(before, wide[0]!.data, narrow[0]!.data),
          );
        }),
        runs(40),
      );
    });
  });

  /** How far two updates that are `loss` apart can move the same weights apart. */
  function movedApart(
    { lr, trustRatio }: DrawnOptions,
    loss: number,
    { weightNorm, updateNorm }: { weightNorm: number; updateNorm: number },
  ): number {
    switch (trustRatio.rule) {
      case "none":
        return lr * loss;
      // Clipping projects on a ball: it brings no two points further apart.
      case "clip-update":
        return lr * loss;
      // The ratio is that of the gradient: the momentum is not in it. Classic momentum holds γ already.
      case "scale-gradient":
        return (trustRatio.momentumOrder === "torch" ? lr : 1) * loss;
      // Both updates are brought to nearly one length: twice the loss, relative to it.
      case "scale-update":
        return updateNorm === 0
          ? Infinity
          : (lr * trustRatio.coefficient * weightNorm * 2 * loss) / updateNorm;
    }
  }
});

describe("the reference and the wasm kernel agree", () => {
  const midpoints = codebookMidpoints(createDynamicMap());

  it("on weights and float32 state to 2e-6 of the layer's scale (float32 arithmetic against float64), on codes exactly but within 1e-6 of a midpoint", () => {
    fc.assert(
      fc.property(
        optionsWith(anyRule),
        fc.constantFrom(8 as const, 32 as const),
        anyLayers,
        fc.constantFrom(1, 1, 0.01, 1024),
        (drawn, optimBits, layers, gradScale) => {
          const options = { ...drawn, optimBits, min8bitSize: 1 };
          const params = parametersOf(layers);
          const tested = parametersOf(layers);
          const oracle = new LARS(params, options, reference.options);
          const optimizer = new LARS(tested, options, wasm.options);
          // Keeps the momentum that the oracle quantises.
          const unquantised = parametersOf(layers);
          const witness = new LARS(unquantised, { ...options, optimBits: 32 }, reference.options);
          for (let step = 0; step < STEPS; step++) {
            for (const set of [params, tested, unquantised]) {
              setGradients(set, layers, step, 1 / gradScale);
            }
            const before = snapshotOf(oracle, params);
            const report = oracle.step({ gradScale });
            const other = optimizer.step({ gradScale });
            witness.step({ gradScale });
            // Options that diverge leave float32's range, and with it anything to compare.
            if (params.some(({ data }) => !(largestMagnitude(data) < 1e15))) return;
            const [states, others] = [oracle.stateDict(), optimizer.stateDict()];
            report.layers.forEach((expected, index) => {
              const actual = other.layers[index]!;
              for (const field of ["weightNorm", "gradNorm", "clipScale"] as const) {
                const off = Math.abs(actual[field] - expected[field]);
                expect(off).toBeLessThanOrEqual(2e-6 * expected[field]);
              }
              const weights = before.weights[index]!;
              const scale = Math.max(
                largestMagnitude(weights),
                largestMagnitude(params[index]!.data),
              );
              expect(
                relativeDifference(tested[index]!.data, params[index]!.data, scale),
              ).toBeLessThanOrEqual(2e-6);
              compareMomentum(others.layers[index]!.momentum, states.layers[index]!.momentum, {
                momentum: options.momentum === 0 ? null : float32Momentum(witness, index),
                terms: directionScale(options, expected, weights, params[index]!.grad!, gradScale),
                before: before.state.layers[index]!.momentum,
              });
            });
            // The next step starts from one state again: a code may differ, and what follows from it.
            const saved = oracle.stateDict();
            optimizer.loadStateDict(saved);
            witness.loadStateDict(saved);
            params.forEach(({ data }, index) => {
              tested[index]!.data.set(data);
              unquantised[index]!.data.set(data);
            });
          }
        },
      ),
      runs(120),
    );
  });

  /** The largest magnitude of what is added up in the direction, as it enters the momentum. */
  function directionScale(
    { trustRatio, lr, weightDecay }: DrawnOptions,
    { trustRatio: ratio, clipScale }: { trustRatio: number; clipScale: number },
    weights: Float32Array,
    gradient: Float32Array,
    gradScale: number,
  ): number {
    const isBefore = trustRatio.rule === "scale-gradient";
    const isClassic = isBefore && trustRatio.momentumOrder === "classic";
    const factor = (isClassic ? lr : 1) * (isBefore ? ratio : 1);
    return (
      factor *
      (clipScale * gradScale * largestMagnitude(gradient) + weightDecay * largestMagnitude(weights))
    );
  }

  function compareMomentum(
    actual: Momentum | null,
    expected: Momentum | null,
    known: { momentum: Float32Array | null; terms: number; before: Momentum | null },
  ): void {
    if (expected === null || actual === null || known.momentum === null) {
      expect(actual).toBe(expected);
      return;
    }
    const { before } = known;
    const stored = before === null ? 0 : largestOf(before);
    const scale = Math.max(stored, known.terms, largestMagnitude(known.momentum));
    if (expected.kind === "float32" && actual.kind === "float32") {
      expect(relativeDifference(actual.values, expected.values, scale)).toBeLessThanOrEqual(2e-6);
    } else if (expected.kind === "blockwise" && actual.kind === "blockwise") {
      expect(relativeDifference(actual.absmax, expected.absmax, scale)).toBeLessThanOrEqual(2e-6);
      const { absmax } = expected;
      expected.codes.forEach((code, index) => {
        const found = actual.codes[index]!;
        if (found === code) return;
        const normalized = known.momentum![index]! / absmax[Math.floor(index / 256)]!;
        expect(Math.abs(found - code)).toBe(1);
        expect(Math.abs(normalized - midpoints[Math.min(code, found)]!)).toBeLessThanOrEqual(1e-6);
      });
    } else {
      expect.fail(`one kernel keeps ${actual.kind}, the other ${expected.kind}`);
    }
  }

  function largestOf(momentum: Momentum): number {
    return largestMagnitude(momentum.kind === "float32" ? momentum.values : momentum.absmax);
  }
});

describe("the wasm kernel gives the same bits", () => {
  interface Setup {
    drawn: DrawnOptions;
    optimBits: 8 | 32;
    layers: LayerShape[];
  }

  const setups: fc.Arbitrary<Setup> = fc.record({
    drawn: optionsWith(anyRule),
    optimBits: fc.constantFrom(8 as const, 32 as const),
    layers: anyLayers,
  });

  /** Where the arrays of a parameter lie. */
  const places: Record<string, (values: Float32Array) => Parameter> = {
    outside: (values) => parameterOf(values, { grad: new Float32Array(values.length) }),
    inside: (values) => allocatedOf(values),
    "weights inside, gradient outside": (values) => {
      const parameter = allocatedOf(values);
      parameter.grad = new Float32Array(values.length);
      return parameter;
    },
    "views that start in the middle": (values) => {
      const data = new Float32Array(values.length + 4).subarray(3, -1);
      data.set(values);
      const parameter = new Parameter(data);
      parameter.grad = new Float32Array(values.length + 2).subarray(1, -1);
      return parameter;
    },
  };

  function trajectory(
    place: (values: Float32Array) => Parameter,
    { drawn, optimBits, layers }: Setup,
  ): { snapshot: Snapshot; reports: StepReport[] } {
    const params = layers.map((layer) => place(weightsOf(layer)));
    const optimizer = new LARS(params, { ...drawn, optimBits, min8bitSize: 1 }, wasm.options);
    const reports: StepReport[] = [];
    for (let step = 0; step < STEPS; step++) {
      params.forEach((parameter, index) => {
        parameter.grad!.set(gradientOf(layers[index]!, step));
      });
      reports.push(optimizer.step());
    }
    const snapshot = snapshotOf(optimizer, params);
    optimizer.dispose();
    for (const parameter of params) parameter.dispose();
    return { snapshot, reports };
  }

  it.each(Object.entries(places))("on every run; arrays: %s", (_, place) => {
    fc.assert(
      fc.property(setups, (setup) => {
        const first = trajectory(places.outside!, setup);
        const again = trajectory(place, setup);
        expectSameSnapshot(again.snapshot, first.snapshot);
        expect(again.reports).toEqual(first.reports);
      }),
      runs(25),
    );
  });
});

describe("a step that fails writes nothing", () => {
  const broken = fc.constantFrom<(parameter: Parameter, optimizer: LARS, at: number) => void>(
    ({ grad }, _, at) => (grad![at % grad!.length] = NaN),
    ({ grad }, _, at) => (grad![at % grad!.length] = Infinity),
    ({ grad }, _, at) => (grad![at % grad!.length] = -Infinity),
    (parameter) => (parameter.grad = new Float32Array(parameter.size + 1)),
    (parameter) => (parameter.grad = [] as unknown as Float32Array),
    (_, optimizer) => (optimizer.paramGroups[0]!.momentum = 1),
    (_, optimizer) => (optimizer.paramGroups[0]!.lr = () => NaN),
    (_, optimizer) => (optimizer.paramGroups[0]!.weightDecay = -1),
  );

  function fails(optimizer: LARS): boolean {
    try {
      return optimizer.step().skipped;
    } catch {
      return true;
    }
  }

  forEachKernel(({ options: kernel }) => {
    it("weights, gradients, state, counts and histories keep their bits, and the next step is as if it had never been", () => {
      fc.assert(
        fc.property(
          optionsWith(anyRule),
          fc.constantFrom(8 as const, 32 as const),
          fc.array(layerOf(fc.integer({ min: 1, max: 2000 })), { minLength: 1, maxLength: 4 }),
          fc.constantFrom("throw" as const, "skip" as const),
          broken,
          fc.nat(),
          fc.integer({ min: 0, max: 2 }),
          (drawn, optimBits, layers, nonFinite, breakIt, at, stepsBefore) => {
            const options = { ...drawn, optimBits, min8bitSize: 300, nonFinite };
            const [params, twins] = [parametersOf(layers), parametersOf(layers)];
            const optimizer = new LARS(params, options, kernel);
            const twin = new LARS(twins, options, kernel);
            for (let step = 0; step < stepsBefore; step++) {
              setGradients(params, layers, step);
              setGradients(twins, layers, step);
              optimizer.step();
              twin.step();
            }
            setGradients(params, layers, stepsBefore);
            const { lr, momentum, weightDecay } = optimizer.paramGroups[0]!;
            breakIt(params[at % params.length]!, optimizer, at);
            const gradients = params.map(({ grad }) => Float32Array.from(grad!));
            const before = snapshotOf(optimizer, params);
            expect(fails(optimizer)).toBe(true);
            expectSameSnapshot(snapshotOf(optimizer, params), before);
            params.forEach(({ grad }, index) => {
              expectSameBits(Float32Array.from(grad!), gradients[index]!);
            });
            Object.assign(optimizer.paramGroups[0]!, { lr, momentum, weightDecay });
            setGradients(params, layers, stepsBefore);
            setGradients(twins, layers, stepsBefore);
            expect(optimizer.step()).toEqual(twin.step());
            expectSameSnapshot(snapshotOf(optimizer, params), snapshotOf(twin, twins));
          },
        ),
        runs(80),
      );
    });
  });
});
