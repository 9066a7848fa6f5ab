/** How results are compared. */
import { expect } from "vitest";

type Numbers = ArrayLike<number> & Iterable<number>;

export function largestMagnitude(values: Numbers): number {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  return largest;
}

/**
 * The largest |actual − expected| of a layer, relative to the layer's largest magnitude (or a given
 * scale). Relative to each element alone it would say nothing: where two float32 terms cancel, the
 * element that is left is near zero and all of its digits may be rounding.
 *
 * NaN anywhere gives NaN, which fails every comparison.
 */
export function relativeDifference(
  actual: Numbers,
  expected: Numbers,
  scale = largestMagnitude(expected),
): number {
  expect(actual.length).toBe(expected.length);
  let largest = 0;
  for (let index = 0; index < expected.length; index++) {
    const difference = Math.abs(actual[index]! - expected[index]!);
    if (!(difference <= largest)) largest = difference;
    if (Number.isNaN(difference)) return NaN;
  }
  return largest === 0 ? 0 : largest / scale;
}

type TypedArray = Float32Array | Float64Array | Uint8Array;

function bytesOf(array: TypedArray): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}

export function sameBits(actual: TypedArray, expected: TypedArray): boolean {
  return bytesOf(actual).equals(bytesOf(expected));
}

/** Fails with the first element whose bits differ, which a dump of 70,000 elements would hide. */
export function expectSameBits(actual: TypedArray, expected: TypedArray, what = "array"): void {
  if (sameBits(actual, expected)) return;
  expect(actual.length, `${what}: length`).toBe(expected.length);
  const index = expected.findIndex((value, at) => !Object.is(value, actual[at]));
  expect.fail(
    `${what}: element ${index} is ${actual[index]}, expected ${expected[index]} to the bit`,
  );
}

/** ‖x‖ in float64 with the rounding errors of the sum carried along (Neumaier). */
export function normOf(values: Numbers): number {
  let sum = 0;
  let carried = 0;
  for (const value of values) {
    const square = value * value;
    const next = sum + square;
    carried += sum >= square ? sum - next + square : square - next + sum;
    sum = next;
  }
  return Math.sqrt(sum + carried);
}

/** ‖a − b‖. */
export function distance(a: Numbers, b: Numbers): number {
  return normOf(Float64Array.from(a, (value, index) => value - b[index]!));
}
