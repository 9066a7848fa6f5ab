/** The two passes of a kernel by themselves: measure and apply over layers, ranges of layers and all of float32. */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { Parameter } from "../src/index.js";
import type { Momentum } from "../src/index.js";
import { addSums, CHUNK_SIZE, NO_SUMS } from "../src/kernels/kernel.js";
import type { Kernel, KernelTask, SumsOfSquares, UpdateEquation } from "../src/kernels/kernel.js";
import { dequantizeBlockwise, quantizeBlockwise } from "../src/quantization.js";
import { momentumArrays } from "../src/state/momentum.js";
import { runs } from "./helpers/arbitraries.js";
import { kernels } from "./helpers/kernels.js";
import { expectSameBits, normOf, relativeDifference } from "./helpers/numbers.js";
import { randomArray } from "./helpers/random.js";

/** All factors are exact in float32, so that only the kernels' own rounding is seen. */
const equation: UpdateEquation = {
  gradientFactor: 0.5,
  weightFactor: 0.125,
  decay: 0.75,
  accumulation: 0.5,
  lookahead: 0,
  stepSize: 0.25,
  skipZeros: false,
};

const variants: Record<string, Partial<UpdateEquation>> = {
  plain: {},
  "look-ahead": { lookahead: 0.75 },
  skipZeros: { skipZeros: true },
  "look-ahead and skipZeros": { lookahead: 0.75, skipZeros: true },
  "first step": { decay: 0, accumulation: 1 },
  "without weight decay": { weightFactor: 0 },
};

const ALL_SUMS = { weights: true, update: true };

type Kind = "none" | Momentum["kind"];
const kinds: Kind[] = ["none", "float32", "blockwise"];

interface Layer {
  weights: Float32Array;
  gradient: Float32Array;
  momentum: Momentum | null;
}

function momentumOf(kind: Kind, values: Float32Array): Momentum | null {
  if (kind === "none") return null;
  return kind === "float32"
    ? { kind, values: values.slice() }
    : { kind, ...quantizeBlockwise(values) };
}

const drawn = new Map<string, Layer>();

/** A layer that tests may write to; its values are drawn once. */
function randomLayer(size: number, kind: Kind, { zeros = 0 } = {}): Layer {
  const key = [size, kind, zeros].join();
  const layer = drawn.get(key) ?? {
    weights: randomArray(size, size),
    gradient: randomArray(size, size + 1, { zeros }),
    momentum: momentumOf(kind, randomArray(size, size + 2)),
  };
  drawn.set(key, layer);
  return copyOf(layer);
}

/** Without momentum the equation is that of a first step, as the optimizer's is. */
function taskOf(arrays: Layer, changes: Partial<UpdateEquation> = {}): KernelTask {
  const withoutMomentum =
    arrays.momentum === null ? { decay: 0, accumulation: 1, lookahead: 0 } : {};
  return {
    arrays,
    equation: { ...equation, ...changes, ...withoutMomentum },
    sums: ALL_SUMS,
  };
}

function measureOne(kernel: Kernel, task: KernelTask): SumsOfSquares {
  return kernel.measure([task])[0]!;
}

function applyOne(kernel: Kernel, task: KernelTask): SumsOfSquares {
  return kernel.apply([task])[0]!;
}

/** The equations in float64, one element after the other. */
function expectedStep({ arrays, equation: numbers }: KernelTask): {
  weights: Float64Array;
  momentum: Float64Array;
  update: Float64Array;
} {
  const { weights, gradient } = arrays;
  const stored = storedValues(arrays.momentum, weights.length);
  const result = {
    weights: Float64Array.from(weights),
    momentum: Float64Array.from(stored),
    update: new Float64Array(weights.length),
  };
  weights.forEach((w, i) => {
    const g = gradient[i]!;
    if (numbers.skipZeros && g === 0) return;
    const d = numbers.gradientFactor * g + numbers.weightFactor * w;
    const m = arrays.momentum === null ? d : numbers.decay * stored[i]! + numbers.accumulation * d;
    result.momentum[i] = m;
    result.update[i] = numbers.lookahead > 0 ? d + numbers.lookahead * m : m;
    result.weights[i] = w - numbers.stepSize * result.update[i];
  });
  return result;
}

function storedValues(momentum: Momentum | null, size: number): Float32Array {
  if (momentum === null) return new Float32Array(size);
  return momentum.kind === "float32" ? momentum.values : dequantizeBlockwise(momentum);
}

function copyOf(layer: Layer): Layer {
  return structuredClone(layer);
}

function expectSameLayer(actual: Layer, expected: Layer): void {
  expectSameBits(actual.weights, expected.weights, "weights");
  expectSameBits(actual.gradient, expected.gradient, "gradient");
  const [a, b] = [actual.momentum, expected.momentum];
  if (a?.kind === "float32" && b?.kind === "float32")
    expectSameBits(a.values, b.values, "momentum");
  if (a?.kind === "blockwise" && b?.kind === "blockwise") {
    expectSameBits(a.codes, b.codes, "codes");
    expectSameBits(a.absmax, b.absmax, "absmax");
  }
}

/** A layer's part; ranges are cut where the kernels cut, at multiples of the chunk. */
function rangeOf({ weights, gradient, momentum }: Layer, start: number, end: number): Layer {
  const blocks: [number, number] = [start / 256, Math.ceil(end / 256)];
  return {
    weights: weights.subarray(start, end),
    gradient: gradient.subarray(start, end),
    momentum:
      momentum?.kind === "blockwise"
        ? {
            kind: "blockwise",
            codes: momentum.codes.subarray(start, end),
            absmax: momentum.absmax.subarray(...blocks),
          }
        : momentum && { kind: "float32", values: momentum.values.subarray(start, end) },
  };
}

function cutAt(size: number, chunks: number): [number, number][] {
  const step = chunks * CHUNK_SIZE;
  return Array.from({ length: Math.ceil(size / step) }, (_, index) => [
    index * step,
    Math.min(size, (index + 1) * step),
  ]);
}

function norms({ weights, gradient, update }: SumsOfSquares): number[] {
  return [weights, gradient, update].map(Math.sqrt);
}

function expectNorms(sums: SumsOfSquares, expected: readonly number[], tolerance: number): void {
  norms(sums).forEach((norm, index) => {
    const difference = Math.abs(norm - expected[index]!);
    expect(difference).toBeLessThanOrEqual(tolerance * expected[index]!);
  });
}

/** Tails of vectors, of runs, of blocks and of chunks. */
const sizes = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 255, 256, 257, 263, 511, 1000, 2049];
const largeSizes = [CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE + 300];

describe.each(kernels)("$name kernel", ({ name, kernel: create }) => {
  const kernel = create();
  afterAll(() => {
    kernel.dispose();
  });
  // The reference sums in float64; wasm in float32 over short runs, with the runs in float64.
  const [tolerance, reason] =
    name === "reference" ? [1e-13, "float64 sums"] : [5e-7, "float32 sums of short runs"];

  describe.each(Object.entries(variants))("%s", (_, changes) => {
    it.each(kinds)(`measures norms within ${tolerance} (${reason}), momentum: %s`, (kind) => {
      for (const size of [...sizes, ...largeSizes]) {
        const layer = randomLayer(size, kind, { zeros: 0.1 });
        const task = taskOf(layer, changes);
        expectNorms(
          measureOne(kernel, task),
          [normOf(layer.weights), normOf(layer.gradient), normOf(expectedStep(task).update)],
          tolerance,
        );
      }
    });

    it.each(kinds)(
      "applies the equations within 3e-7 of a layer's scale (float32 storage), momentum: %s",
      (kind) => {
        for (const size of [...sizes, ...largeSizes]) {
          const layer = randomLayer(size, kind, { zeros: 0.1 });
          const task = taskOf(layer, changes);
          const expected = expectedStep(task);
          const before = normOf(layer.weights);
          const sums = applyOne(kernel, task);
          expectNorms(sums, [before, 0, normOf(expected.update)], Math.max(tolerance, 5e-7));
          expect(relativeDifference(layer.weights, expected.weights)).toBeLessThanOrEqual(3e-7);
          if (layer.momentum?.kind === "float32") {
            const { values } = layer.momentum;
            expect(relativeDifference(values, expected.momentum)).toBeLessThanOrEqual(3e-7);
          } else if (layer.momentum !== null) {
            const values = dequantizeBlockwise(layer.momentum);
            expect(relativeDifference(values, expected.momentum)).toBeLessThanOrEqual(0.0071);
          }
        }
      },
    );
  });

  it("measure writes nothing", () => {
    for (const kind of kinds) {
      const layer = randomLayer(CHUNK_SIZE + 777, kind);
      const before = copyOf(layer);
      measureOne(kernel, taskOf(layer));
      expectSameLayer(layer, before);
    }
  });

  it("apply leaves the gradient alone, and what lies beside the arrays", () => {
    for (const size of sizes) {
      for (const kind of kinds) {
        const room = randomLayer(size, kind);
        const margin = 64;
        const surrounded = (values: Float32Array): Float32Array =>
          Float32Array.from({ length: size + 2 * margin }, (_, i) => values[i - margin] ?? 9);
        const weights = surrounded(room.weights);
        const gradient = surrounded(room.gradient);
        const inner = (array: Float32Array): Float32Array => array.subarray(margin, margin + size);
        const codes = new Uint8Array(size + 2 * margin).fill(9);
        let { momentum } = room;
        if (momentum?.kind === "blockwise") {
          codes.set(momentum.codes, margin);
          momentum = { ...momentum, codes: codes.subarray(margin, margin + size) };
        }
        applyOne(kernel, taskOf({ weights: inner(weights), gradient: inner(gradient), momentum }));
        const outside = [weights, gradient, codes].flatMap((array) => [
          ...array.slice(0, margin),
          ...array.slice(-margin),
        ]);
        expect(new Set(outside)).toEqual(new Set([9]));
        expectSameBits(inner(gradient), room.gradient);
      }
    }
  });

  it("gives 0 for sums that are not wanted, and the gradient's always", () => {
    for (const kind of kinds) {
      for (const weights of [true, false]) {
        for (const update of [true, false]) {
          const layer = randomLayer(1000, kind);
          const task = { ...taskOf(layer), sums: { weights, update } };
          const all = measureOne(kernel, taskOf(layer));
          const some = measureOne(kernel, task);
          expect(some.weights).toBe(weights ? all.weights : 0);
          expect(some.update).toBe(update ? all.update : 0);
          expectNorms(some, norms({ ...all, ...some, gradient: all.gradient }), 1e-12);
          const applied = applyOne(kernel, task);
          expect(applied.weights > 0).toBe(weights);
          expect(applied.update > 0).toBe(update);
          expect(applied.gradient).toBe(0);
        }
      }
    }
  });

  it("keeps several tasks apart, in their order", () => {
    const layers = [300, 7, CHUNK_SIZE + 5, 1, 4096].map((size, index) =>
      randomLayer(size, kinds[index % 3]!),
    );
    const alone = layers.map(copyOf);
    const tasks = layers.map((layer) => taskOf(layer));
    const together = [kernel.measure(tasks), kernel.apply(tasks)];
    const separate = [
      alone.map((layer) => measureOne(kernel, taskOf(layer))),
      alone.map((layer) => applyOne(kernel, taskOf(layer))),
    ];
    expect(together).toEqual(separate);
    layers.forEach((layer, index) => {
      expectSameLayer(layer, alone[index]!);
    });
    expect(kernel.measure([])).toEqual([]);
    expect(kernel.apply([])).toEqual([]);
  });

  describe("ranges of a layer, as threads and shards have them", () => {
    const size = 5 * CHUNK_SIZE + 1234;
    const cases = kinds.flatMap((kind) => [1, 2, 3].map((chunks) => ({ kind, chunks })));

    it.each(cases)(
      "measured add up to the whole within 1e-14 (order of float64 sums): momentum $kind, $chunks chunks each",
      ({ kind, chunks }) => {
        const layer = randomLayer(size, kind);
        const whole = measureOne(kernel, taskOf(layer));
        const parts = kernel.measure(
          cutAt(size, chunks).map(([start, end]) => taskOf(rangeOf(layer, start, end))),
        );
        expectNorms(parts.reduce(addSums, NO_SUMS), norms(whole), 1e-14);
      },
    );

    it.each(cases)(
      "applied leave the bits of the whole: momentum $kind, $chunks chunks each",
      ({ kind, chunks }) => {
        const layer = randomLayer(size, kind, { zeros: 0.01 });
        const parts = copyOf(layer);
        const whole = applyOne(kernel, taskOf(layer, { skipZeros: true }));
        const sums = kernel.apply(
          cutAt(size, chunks).map(([start, end]) =>
            taskOf(rangeOf(parts, start, end), { skipZeros: true }),
          ),
        );
        expectSameLayer(parts, layer);
        expectNorms(sums.reduce(addSums, NO_SUMS), norms(whole), 1e-14);
      },
    );
  });

  describe("all of float32", () => {
    const SMALLEST = 2 ** -149;
    const scales = [
      1e25,
      1e-25,
      1e38,
      1e-38,
      1e19,
      1e-19,
      1e15,
      1e-15,
      1e-20,
      1e-42,
      3 * SMALLEST,
      2 ** 127,
      2 ** -126,
    ];

    it.each(scales)(`norms at scale %d are right within ${tolerance} (${reason})`, (scale) => {
      for (const size of [1, 6, 300, 3000]) {
        const values = randomArray(size, 3, { scale: scale / 4 });
        const layer: Layer = {
          weights: values,
          gradient: values.map((value) => -value),
          momentum: null,
        };
        // u = g / 2: denormals lose no bit that matters, the largest do not overflow.
        const task = taskOf(layer, { gradientFactor: 1, weightFactor: 0 });
        const norm = normOf(values);
        expectNorms(measureOne(kernel, task), [norm, norm, norm], tolerance);
      }
    });

    it(`norms of any finite values together are right within ${tolerance} (${reason})`, () => {
      const values = fc.float32Array({
        noNaN: true,
        noDefaultInfinity: true,
        minLength: 1,
        maxLength: 700,
      });
      fc.assert(
        fc.property(values, values, (weights, gradient) => {
          const size = Math.min(weights.length, gradient.length);
          const layer = {
            weights: weights.slice(0, size),
            gradient: gradient.slice(0, size),
            momentum: null,
          };
          const task = taskOf(layer, { gradientFactor: 1, weightFactor: 0 });
          const [w, g] = [normOf(layer.weights), normOf(layer.gradient)];
          expectNorms(measureOne(kernel, task), [w, g, g], tolerance);
        }),
        runs(300),
      );
    });

    it("one large element among zeros, and one small one, at every place of a run", () => {
      for (const value of [3.4e38, 1e20, SMALLEST, -1e-30]) {
        for (const size of [5, 256, 300]) {
          for (let at = 0; at < size; at += size > 5 ? 7 : 1) {
            const gradient = new Float32Array(size);
            gradient[at] = value;
            gradient[(at + 1) % size] = -0;
            const layer = { weights: new Float32Array(size), gradient, momentum: null };
            const norm = Math.abs(gradient[at]!);
            expect(Math.sqrt(measureOne(kernel, taskOf(layer)).gradient) / norm).toBeCloseTo(1, 12);
          }
        }
      }
    });

    it("the update's norm where its products leave float32", () => {
      const gradient = randomArray(300, 1, { scale: 5e37 });
      const layer = { weights: new Float32Array(300), gradient, momentum: null };
      const task = taskOf(layer, { gradientFactor: 1024 });
      const { update } = measureOne(kernel, task);
      const expected = 1024 * normOf(gradient);
      expect(Math.abs(Math.sqrt(update) - expected)).toBeLessThanOrEqual(tolerance * expected);
    });

    it("zeros of both signs have sum 0", () => {
      for (const size of sizes) {
        const zeros = Float32Array.from({ length: size }, (_, index) => (index % 2 ? -0 : 0));
        const layer = { weights: zeros, gradient: zeros.slice(), momentum: null };
        expect(measureOne(kernel, taskOf(layer))).toEqual(NO_SUMS);
      }
    });

    it("the gradient's sum is not finite exactly when an element is not, wherever it stands", () => {
      for (const value of [NaN, Infinity, -Infinity]) {
        for (const size of [1, 7, 8, 256, 261]) {
          for (let at = 0; at < size; at++) {
            const layer = randomLayer(size, "float32");
            layer.gradient[at] = value;
            expect(Number.isFinite(measureOne(kernel, taskOf(layer)).gradient)).toBe(false);
          }
        }
      }
      const largest = new Float32Array(70_000).fill(3.4028234663852886e38);
      const layer = { weights: largest, gradient: largest, momentum: null };
      expect(Number.isFinite(measureOne(kernel, taskOf(layer)).gradient)).toBe(true);
    });
  });

  it("allocates momentum 0, inside and outside of its memory, and leaves other momentum alone", () => {
    const inside = Parameter.allocate([1000]);
    for (const weights of [inside.data, new Float32Array(1000), undefined]) {
      for (const kind of ["float32", "blockwise"] as const) {
        const momentum = kernel.allocateMomentum(kind, 1000, weights);
        const arrays = momentumArrays(momentum);
        expect(arrays.map(({ length }) => length)).toEqual(kind === "float32" ? [1000] : [1000, 4]);
        expect(arrays.map(normOf)).toEqual(arrays.map(() => 0));
        for (const array of arrays) array.fill(1);
        kernel.releaseMomentum(momentum);
        const again = kernel.allocateMomentum(kind, 1000, weights);
        expect(momentumArrays(again).map(normOf)).toEqual(arrays.map(() => 0));
        kernel.releaseMomentum(again);
      }
    }
    const other = { kind: "float32", values: new Float32Array([1, 2]) } as const;
    kernel.releaseMomentum(other);
    expect([...other.values]).toEqual([1, 2]);
    inside.dispose();
  });
});
