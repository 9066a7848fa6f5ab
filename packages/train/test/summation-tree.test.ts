/** The order of additions is the same for one process and for many. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PartialSums, depthOf, ownPlaces } from "../src/gradients/summation-tree.js";

const POWERS = [1, 2, 4, 8] as const;

/** Additions by their parentheses. */
function textSum(places: readonly (number | null)[]): string | null {
  const sums = new PartialSums<{ text: string }>((sum, part) => {
    sum.text = `(${sum.text} + ${part.text})`;
  });
  for (const place of places) sums.push(place === null ? null : { text: String(place) });
  return sums.finish()?.text ?? null;
}

/** What processes get: each its subtree, then neighbours first, as the collective of the library adds. */
function overProcesses<Part>(
  parts: readonly (Part | null)[],
  add: (left: Part, right: Part) => Part,
): Part | null {
  let level = parts;
  while (level.length > 1) {
    level = Array.from({ length: level.length / 2 }, (_, index) => {
      const [left = null, right = null] = level.slice(2 * index, 2 * index + 2);
      return left === null || right === null ? (left ?? right) : add(left, right);
    });
  }
  return level[0] ?? null;
}

function ranks(size: number): { rank: number; size: number }[] {
  return Array.from({ length: size }, (_, rank) => ({ rank, size }));
}

/** Float32 sums over processes in which those without a micro-batch bring −0. */
function float32Sum(values: Float32Array, size: number): number {
  const parts = ranks(size).map((share) => {
    const sums = new PartialSums<Float32Array>((sum, part) => {
      sum[0]! += part[0]!;
    });
    for (const place of ownPlaces(values.length, share)) {
      sums.push(place === null ? null : Float32Array.of(values[place]!));
    }
    return sums.finish()?.[0] ?? -0;
  });
  return overProcesses(parts, (left, right) => Math.fround(left + right))!;
}

const float32 = fc.float({ noNaN: true, noDefaultInfinity: true });

describe("the tree of micro-batches", () => {
  test("by name: five micro-batches on one, two and four processes", () => {
    const sum = "(((0 + 4) + 2) + (1 + 3))";
    expect(textSum(ownPlaces(5, { rank: 0, size: 1 }))).toBe(sum);
    expect(ranks(2).map((share) => textSum(ownPlaces(5, share)))).toEqual([
      "((0 + 4) + 2)",
      "(1 + 3)",
    ]);
    expect(ranks(4).map((share) => textSum(ownPlaces(5, share)))).toEqual([
      "(0 + 4)",
      "2",
      "1",
      "3",
    ]);
    expect(ownPlaces(3, { rank: 3, size: 8 })).toEqual([null]);
  });

  test("1, 2, 4 and 8 processes make the same additions, for 1 to 100 micro-batches", () => {
    for (let count = 1; count <= 100; count++) {
      const sums = POWERS.map((size) =>
        overProcesses(
          ranks(size).map((share) => textSum(ownPlaces(count, share))),
          (left, right) => `(${left} + ${right})`,
        ),
      );
      expect(new Set(sums).size).toBe(1);
    }
  });

  test("sums have the same bits, −0 included", () => {
    fc.assert(
      fc.property(fc.array(float32, { minLength: 1, maxLength: 40 }), (numbers) => {
        const values = Float32Array.from(numbers);
        const sums = POWERS.map((size) => float32Sum(values, size));
        for (const sum of sums) expect(Object.is(sum, sums[0])).toBe(true);
      }),
    );
    expect(float32Sum(Float32Array.of(-0, -0, -0), 8)).toBe(-0);
  });

  test("each micro-batch has one place; powers of two of processes have as many as another, or one less", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 600 }),
        fc.integer({ min: 1, max: 20 }),
        (count, size) => {
          const own = ranks(size).map((share) =>
            ownPlaces(count, share).filter((place) => place !== null),
          );
          expect(own.flat().toSorted((a, b) => a - b)).toEqual(
            Array.from({ length: count }, (_, index) => index),
          );
          if (!Number.isInteger(Math.log2(size))) return;
          const loads = own.map(({ length }) => length);
          expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(1);
        },
      ),
    );
  });

  test("no more sums wait than the tree has levels, and one that is added", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.constantFrom(1, 2, 3, 4), (count, size) => {
        for (const share of ranks(size)) {
          let held = 0;
          let most = 0;
          const sums = new PartialSums<number>(() => held--);
          for (const place of ownPlaces(count, share)) {
            if (place !== null) most = Math.max(most, ++held);
            sums.push(place);
          }
          expect(most).toBeLessThanOrEqual(depthOf(count) + 1);
        }
      }),
    );
  });
});
