/**
 * The quantisers, readable and fast, against brute force: every code, every midpoint, and the float32
 * neighbours of every midpoint, at every scale that float32 has. Codes are compared exactly.
 */
import { describe, expect, it } from "vitest";
import { LARS } from "../src/index.js";
import {
  BLOCK_SIZE,
  createDynamicMap,
  dequantizeBlockwise,
  quantizeBlockwise,
} from "../src/quantization.js";
import type { QuantizedBlocks } from "../src/quantization.js";
import { codesOfKey, KEY_SHIFT, LARGEST_REST, SIGN_KEY } from "../src/state/code-keys.js";
import { forEachKernel } from "./helpers/kernels.js";
import type { TestedKernel } from "./helpers/kernels.js";
import { expectSameBits, largestMagnitude } from "./helpers/numbers.js";
import { blockwiseMomentum, parameterOf } from "./helpers/problem.js";
import { randomArray, uniform } from "./helpers/random.js";

const codebook = createDynamicMap();
/** Written from the specification: the float32 midpoint of neighbours. */
const midpoints = Float32Array.from(
  { length: 255 },
  (_, code) => Math.fround(codebook[code]! + codebook[code + 1]!) / 2,
);

/** Brute force: how many of the 255 midpoints lie below. */
function codeOf(value: number, absmax: number): number {
  if (absmax === 0) return 127;
  const normalized = Math.min(1, Math.max(-1, Math.fround(value / absmax)));
  let code = 0;
  while (code < 255 && normalized > midpoints[code]!) code++;
  return code;
}

function bruteForce(values: Float32Array): QuantizedBlocks {
  const codes = new Uint8Array(values.length);
  const absmax = new Float32Array(Math.ceil(values.length / 256));
  for (let block = 0; block < absmax.length; block++) {
    const start = 256 * block;
    const elements = values.subarray(start, start + 256);
    const largest = largestMagnitude(elements);
    absmax[block] = largest;
    elements.forEach((value, index) => {
      codes[start + index] = codeOf(value, largest);
    });
  }
  return { codes, absmax };
}

/** A quantiser under test: the public function, or a kernel as seen through a first step. */
type Quantizer = (values: Float32Array) => QuantizedBlocks;

/** A layer's momentum after its first step is its gradient, quantised. */
function throughKernel({ options }: TestedKernel): Quantizer {
  return (values) => {
    const parameter = parameterOf(new Float32Array(values.length));
    parameter.grad = values;
    const optimizer = new LARS(
      [parameter],
      { lr: 0, momentum: 0.5, optimBits: 8, min8bitSize: 1, trustRatio: "none" },
      options,
    );
    optimizer.step();
    const momentum = blockwiseMomentum(optimizer);
    optimizer.dispose();
    return momentum;
  };
}

function expectBruteForce(
  quantize: Quantizer,
  values: Float32Array,
  expected = bruteForce(values),
): void {
  const actual = quantize(values);
  expectSameBits(actual.absmax, expected.absmax, "absmax");
  expectSameBits(actual.codes, expected.codes, "codes");
}

/** The float32 value `steps` representable values above. */
function neighbour(value: number, steps: number): number {
  const float = Float32Array.of(value);
  const bits = new Int32Array(float.buffer);
  // Magnitudes are ordered as their bits are; below 0 the order is reversed.
  const ordered = bits[0]! < 0 ? -(bits[0]! & 0x7fffffff) : bits[0]!;
  const next = ordered + steps;
  bits[0] = next < 0 ? -next | 0x80000000 : next;
  return float[0]!;
}

/** Every codebook value, every midpoint and what is up to 8 ulp beside them, with both signs. */
const critical = [...midpoints, ...codebook].flatMap((value) =>
  Array.from({ length: 17 }, (_, index) => neighbour(value, index - 8)).flatMap((near) => [
    near,
    -near,
  ]),
);

/** Blocks of the critical values times absmax, each with one element that sets absmax. */
function criticalBlocks(absmax: number): Float32Array {
  const inside = critical.filter((value) => Math.abs(value) <= 1);
  const blocks = Math.ceil(inside.length / 255);
  const values = new Float32Array(blocks * 256);
  for (let block = 0; block < blocks; block++) {
    // At another place and with another sign in each block.
    const at = (block * 37) % 256;
    for (let index = 0, from = block * 255; index < 256; index++) {
      values[256 * block + index] =
        index === at ? absmax * (-1) ** block : (inside[from++] ?? 0) * absmax;
    }
  }
  return values;
}

const LARGEST = 3.4028234663852886e38;
const SMALLEST = 2 ** -149;
const SMALLEST_NORMAL = 2 ** -126;

const absmaxValues = [
  1,
  2,
  0.5,
  0.1,
  Math.PI,
  1.9999999,
  neighbour(1, 1),
  neighbour(1, -1),
  123456.789,
  1e-10,
  1e10,
  1e-30,
  1e30,
  // Around 1e-36, where 1 / absmax nears float32's end, and the end itself.
  1e-36,
  neighbour(1e-36, 1),
  neighbour(1e-36, -1),
  1.1e-36,
  2 ** -120,
  2 ** 120,
  SMALLEST_NORMAL,
  neighbour(SMALLEST_NORMAL, 1),
  3e38,
  LARGEST,
  neighbour(LARGEST, -1),
  // Denormals.
  neighbour(SMALLEST_NORMAL, -1),
  1e-39,
  1e-42,
  100 * SMALLEST,
  2 * SMALLEST,
  SMALLEST,
];

/** The same blocks go through every quantiser; brute force need look at them once. */
const criticalCases = new Map<number, { values: Float32Array; expected: QuantizedBlocks }>();

function expectBruteForceAround(quantize: Quantizer, absmax: number): void {
  let known = criticalCases.get(absmax);
  if (known === undefined) {
    const values = criticalBlocks(absmax);
    known = { values, expected: bruteForce(values) };
    criticalCases.set(absmax, known);
  }
  expectBruteForce(quantize, known.values, known.expected);
}

function describeQuantizer(quantize: Quantizer): void {
  it.each(absmaxValues)("all midpoints and codes ± 8 ulp, both signs, absmax %d", (absmax) => {
    expectBruteForceAround(quantize, absmax);
  });

  it("all midpoints and codes ± 8 ulp, both signs, 40 random absmax values", () => {
    const next = uniform(7);
    for (let round = 0; round < 40; round++) {
      expectBruteForceAround(quantize, 2 ** (next() * 250 - 125) * (1 + next()));
    }
  });

  it("half a million values spread over all exponents", () => {
    const values = new Float32Array(2048 * 256);
    const bits = new Uint32Array(values.buffer);
    const next = uniform(11);
    for (let block = 0; block < 2048; block++) {
      // Exponents from 2^-24 below a block's own up to it, and a few from anywhere.
      const top = 25 + (block % 229);
      for (let index = 0; index < 256; index++) {
        const exponent = index % 16 === 0 ? next() * top : top - next() * 25;
        const sign = next() < 0.5 ? 0x80000000 : 0;
        bits[256 * block + index] =
          (sign | (Math.floor(exponent) << 23) | Math.floor(next() * 2 ** 23)) >>> 0;
      }
    }
    expectBruteForce(quantize, values);
  });

  it.each([1, 2, 3, 15, 16, 17, 100, 255, 256, 257, 300, 511, 512, 513, 1000, 32768 + 5])(
    "%d elements: the last block may be shorter",
    (length) => {
      expectBruteForce(quantize, randomArray(length, length));
    },
  );

  it("one element is its own absmax", () => {
    for (const value of [5, -5, SMALLEST, -LARGEST]) {
      const { codes, absmax } = quantize(Float32Array.of(value));
      expect([...codes]).toEqual([value > 0 ? 255 : 0]);
      expect([...absmax]).toEqual([Math.abs(value)]);
    }
  });

  it("a block of ±0 has absmax 0 and code 127 throughout, whatever its neighbours have", () => {
    const values = randomArray(3 * 256 + 9, 1);
    values.fill(0, 256, 512);
    values.fill(-0, 300, 310);
    values.fill(0, 768);
    const { codes, absmax } = quantize(values);
    expect(absmax[1]).toBe(0);
    expect(absmax[3]).toBe(0);
    expect([...new Set(codes.subarray(256, 512))]).toEqual([127]);
    expect([...new Set(codes.subarray(768))]).toEqual([127]);
    expectBruteForce(quantize, values);
  });

  it("every value that a code stands for keeps its code, and its bits", () => {
    const { codes, absmax } = quantize(codebook);
    expect([...codes]).toEqual(Array.from({ length: 256 }, (_, code) => code));
    expectSameBits(dequantizeBlockwise({ codes, absmax }), codebook);
  });
}

describe("quantizeBlockwise", () => {
  describeQuantizer(quantizeBlockwise);

  it("has one midpoint at most for each sign, exponent and top 6 mantissa bits: the kernel's encoder rests on it", () => {
    const keys = new Uint32Array(midpoints.buffer).map((bits) => bits >>> 17);
    expect(new Set(keys).size).toBe(255);
  });

  it("has for each of these keys the codes that codesOfKey says, and where one ends", () => {
    const value = (key: number, rest: number): number =>
      new Float32Array(Uint32Array.of((key << KEY_SHIFT) | rest).buffer)[0]!;
    for (const [sign, away] of [
      [0, 1],
      [SIGN_KEY, -1],
    ] as const) {
      // The keys up to that of 1.
      for (let key = sign; key <= sign + (127 << 6); key++) {
        const { code, lastRest } = codesOfKey(key);
        expect(codeOf(value(key, 0), 1)).toBe(code);
        expect(codeOf(value(key, lastRest), 1)).toBe(code);
        if (lastRest === LARGEST_REST) continue;
        expect(codeOf(value(key, lastRest + 1), 1)).toBe(code + away);
        expect(codeOf(value(key, LARGEST_REST), 1)).toBe(code + away);
      }
    }
  });

  it("takes the nearest of all 256 values; float32's midpoint decides where two are equally near", () => {
    const values = randomArray(64 * 256, 3);
    const { codes, absmax } = quantizeBlockwise(values);
    values.forEach((value, index) => {
      const normalized = Math.fround(value / absmax[Math.floor(index / 256)]!);
      const distanceTo = (code: number): number => Math.abs(codebook[code]! - normalized);
      const nearest = Math.min(...Array.from(codebook, (_, code) => distanceTo(code)));
      // Half an ulp of the midpoint is the rounding of (a + b) / 2.
      expect(distanceTo(codes[index]!) - nearest).toBeLessThanOrEqual(2 ** -24);
    });
  });

  it("refuses what is no Float32Array, and what is not finite", () => {
    expect(() => quantizeBlockwise([1, 2] as unknown as Float32Array)).toThrow(TypeError);
    expect(() => quantizeBlockwise(new Float64Array(2) as unknown as Float32Array)).toThrow(
      TypeError,
    );
    for (const value of [NaN, Infinity, -Infinity]) {
      expect(() => quantizeBlockwise(Float32Array.of(1, value))).toThrow(
        new RegExp(`values\\[1\\]: expected a finite number, got ${value}`),
      );
    }
  });

  it("of nothing is nothing", () => {
    const { codes, absmax } = quantizeBlockwise(new Float32Array(0));
    expect([codes.length, absmax.length]).toEqual([0, 0]);
  });

  it("leaves its argument as it was", () => {
    const values = randomArray(300, 1);
    const copy = values.slice();
    quantizeBlockwise(values);
    expectSameBits(values, copy);
  });
});

describe("dequantizeBlockwise", () => {
  it("is codebook[code] · absmax, rounded once to float32", () => {
    const values = randomArray(1000, 5, { scale: 1e-3 });
    const blocks = quantizeBlockwise(values);
    const restored = dequantizeBlockwise(blocks);
    restored.forEach((value, index) => {
      const exact =
        codebook[blocks.codes[index]!]! * blocks.absmax[Math.floor(index / BLOCK_SIZE)]!;
      expect(value).toBe(Math.fround(exact));
    });
  });

  it("is within 0.00704 of a block's absmax of what was quantised (half the widest gap, 0.9 / 64)", () => {
    const values = randomArray(256 * 100, 6);
    const blocks = quantizeBlockwise(values);
    dequantizeBlockwise(blocks).forEach((value, index) => {
      const bound = 0.00704 * blocks.absmax[Math.floor(index / 256)]!;
      expect(Math.abs(value - values[index]!)).toBeLessThanOrEqual(bound);
    });
  });

  it("refuses wrong types, and a number of absmax values that does not fit", () => {
    const codes = new Uint8Array(257);
    const absmax = new Float32Array(2);
    const wrong = [
      { codes: new Int8Array(257), absmax },
      { codes, absmax: [1, 1] },
    ] as unknown as QuantizedBlocks[];
    for (const blocks of wrong) expect(() => dequantizeBlockwise(blocks)).toThrow(TypeError);
    for (const length of [0, 1, 3]) {
      const blocks = { codes, absmax: new Float32Array(length) };
      expect(() => dequantizeBlockwise(blocks)).toThrow(/absmax: expected a Float32Array of 2/);
    }
  });
});

describe("the quantiser's arguments", () => {
  /** An array whose buffer was handed on, to a worker say. */
  function detached<A extends Float32Array | Uint8Array>(array: A): A {
    structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
    return array;
  }

  it.each<[string, unknown, string]>([
    ["nothing", undefined, "undefined"],
    ["null", null, "null"],
    ["a number", 3, "3"],
    ["a list", [1, 2], "an array of 2"],
    ["a Float64Array", new Float64Array(2), "a Float64Array"],
    ["a Uint8Array", new Uint8Array(4), "a Uint8Array"],
    ["a buffer", new ArrayBuffer(8), "an ArrayBuffer"],
    ["what lies like one", { length: 2, 0: 1, 1: 2 }, "an object"],
    ["a detached array", detached(new Float32Array(2)), "a detached Float32Array"],
  ])("quantizeBlockwise refuses %s", (_, values, shown) => {
    const quantize = (): unknown => quantizeBlockwise(values as Float32Array);
    expect(quantize).toThrow(TypeError);
    expect(quantize).toThrow(`quantizeBlockwise: values: expected a Float32Array, got ${shown}`);
  });

  const codes = new Uint8Array(257);
  const absmax = new Float32Array(2);

  it.each<[string, unknown, typeof RangeError | typeof TypeError, string]>([
    ["null", null, TypeError, "blocks: expected an object, got null"],
    ["nothing", undefined, TypeError, "blocks: expected an object, got undefined"],
    ["codes alone", codes, TypeError, "blocks: expected an object, got a Uint8Array"],
    ["no codes", { absmax }, TypeError, "codes: expected a Uint8Array, got undefined"],
    ["no absmax", { codes }, TypeError, "absmax: expected a Float32Array of 2, got undefined"],
    ["codes in a list", { codes: [1], absmax }, TypeError, "codes: expected a Uint8Array, got an"],
    [
      "clamped codes",
      { codes: new Uint8ClampedArray(257), absmax },
      TypeError,
      "codes: expected a Uint8Array, got a Uint8ClampedArray",
    ],
    [
      "absmax in float64",
      { codes, absmax: new Float64Array(2) },
      TypeError,
      "absmax: expected a Float32Array of 2, got a Float64Array",
    ],
    [
      "detached codes",
      { codes: detached(new Uint8Array(257)), absmax: new Float32Array(0) },
      TypeError,
      "codes: expected a Uint8Array, got a detached Uint8Array",
    ],
    [
      "a detached absmax",
      { codes, absmax: detached(new Float32Array(2)) },
      RangeError,
      "absmax: expected a Float32Array of 2, got a detached Float32Array",
    ],
    ...[NaN, Infinity, -1].map((value): [string, unknown, typeof RangeError, string] => [
      `an absmax of ${value}`,
      { codes, absmax: Float32Array.of(1, value) },
      RangeError,
      `absmax[1]: expected a finite number ≥ 0, got ${value}`,
    ]),
  ])("dequantizeBlockwise refuses %s", (_, blocks, type, message) => {
    const dequantize = (): unknown => dequantizeBlockwise(blocks as QuantizedBlocks);
    expect(dequantize).toThrow(type);
    expect(dequantize).toThrow(/^dequantizeBlockwise/);
    expect(dequantize).toThrow(message);
  });
});

describe("the codebook", () => {
  it("has 256 ascending values: 0 is code 127, 1 is code 255", () => {
    expect(codebook.length).toBe(256);
    expect(codebook[127]).toBe(0);
    expect(codebook[255]).toBe(1);
    codebook.slice(1).forEach((value, code) => {
      expect(value).toBeGreaterThan(codebook[code]!);
    });
  });

  it("has both signs of everything but 1", () => {
    for (let code = 0; code < 127; code++) expect(codebook[code]).toBe(-codebook[254 - code]!);
  });

  it("is a fresh array on every call", () => {
    createDynamicMap().fill(9);
    expectSameBits(createDynamicMap(), codebook);
  });
});

describe("8-bit momentum", () => {
  forEachKernel((kernel) => {
    describeQuantizer(throughKernel(kernel));
  });
});
