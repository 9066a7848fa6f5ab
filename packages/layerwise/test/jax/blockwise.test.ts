/** 8-bit momentum of layerwise/jax against the readable quantiser and brute force. */
import { beforeAll, describe, expect, it } from "vitest";
import { dequantized, quantized, zeroBlocks } from "../../src/adapters/jax/blockwise.js";
import {
  createDynamicMap,
  dequantizeBlockwise,
  quantizeBlockwise,
} from "../../src/quantization.js";
import { codebookMidpoints } from "../../src/state/codebook.js";
import { expectSameBits } from "../helpers/numbers.js";
import { randomArray } from "../helpers/random.js";
import { dynamicMap, quantizations } from "../helpers/vectors.js";
import { arrayOf, codesOf, initWasm, distanceToMidpoint, valuesOf } from "./helpers.js";

beforeAll(initWasm);

/** Two roundings of a division that jax-js makes of a reciprocal and a product. */
const DIVISION = 2 ** -22;

function expectSameCodes(values: Float32Array): void {
  const expected = quantizeBlockwise(values);
  const packed = quantized(arrayOf(values));
  const { codes, absmax } = codesOf(packed);
  expectSameBits(absmax, expected.absmax, "absmax");
  expected.codes.forEach((code, index) => {
    if (codes[index] === code) return;
    const scaled = values[index]! / absmax[Math.floor(index / 256)]!;
    const distance = distanceToMidpoint(scaled, code, codes[index]!);
    expect(distance, `element ${index}`).toBeLessThanOrEqual(DIVISION * Math.abs(scaled));
  });
  const restored = dequantized(packed, [values.length]);
  const own = { codes: codes.slice(0, values.length), absmax };
  expectSameBits(valuesOf(restored), dequantizeBlockwise(own), "values");
  restored.dispose();
}

describe("quantising: absmax to the bit, codes equal but for values within 2^-22 of a midpoint", () => {
  it.each(quantizations)("$kind", ({ values }) => {
    expectSameCodes(values);
  });

  it.each([1, 255, 256, 257, 5000])("%i random elements over nine decades", (size) => {
    const decades = randomArray(size, 7);
    expectSameCodes(randomArray(size, size).map((value, i) => value * 10 ** (4 * decades[i]!)));
  });

  it("every value of the codebook, every midpoint and its neighbours, with absmax 1: to the bit", () => {
    const book = createDynamicMap();
    expectSameBits(book, dynamicMap);
    const bits = new Float32Array(1);
    const integers = new Int32Array(bits.buffer);
    const around = (value: number): number[] =>
      [-1, 0, 1].map((offset) => {
        bits[0] = value;
        integers[0]! += offset;
        return bits[0];
      });
    const special = [...book, ...Array.from(codebookMidpoints(book)).flatMap(around), -1, 0, -0];
    // Each block starts with a 1, which is its absmax: the division then rounds nothing.
    const blocks = Array.from({ length: Math.ceil(special.length / 255) }, (_, block) => {
      const part = special.slice(block * 255, block * 255 + 255);
      return [1, ...part, ...new Array<number>(255 - part.length).fill(0)];
    });
    const values = Float32Array.from(blocks.flat());
    const { codes } = codesOf(quantized(arrayOf(values)));
    expectSameBits(codes, quantizeBlockwise(values).codes, "codes");
  });

  it("starts with zeros, in 1.0157 bytes a parameter", () => {
    const { codes, absmax } = zeroBlocks(4096);
    expect(4 * (codes.size + absmax.size)).toBe(4096 + 64);
    expectSameBits(codesOf({ codes, absmax }).codes, new Uint8Array(4096).fill(127));
    expect(valuesOf(dequantized({ codes, absmax }, [64, 64])).every((value) => value === 0)).toBe(
      true,
    );
  });
});
