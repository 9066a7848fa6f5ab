import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checksum, checksumOf, Fingerprint } from "../../src/distributed/checksum.js";
import { runs } from "../helpers/arbitraries.js";

/** Words that xxHash's own implementation was given for the values below. */
function words(length: number): Uint32Array {
  return Uint32Array.from({ length }, (_, index) => Math.imul(index, 2654435761) + 12345);
}

const anyWord = fc.integer({ min: 0, max: 2 ** 32 - 1 });

describe("checksum", () => {
  // By python-xxhash 3, of the words in little-endian order.
  it.each([
    [0, 46947589, 917998311],
    [1, 3901342335, 4238096896],
    [2, 3454770688, 2457714732],
    [3, 3257987560, 4237528728],
    [4, 3795243863, 884714286],
    [5, 2645459488, 1166031825],
    [7, 3006298882, 3539195024],
    [8, 3799434754, 2357177351],
    [17, 1774910104, 4134812231],
    [1000, 3776661569, 1825301312],
  ])("is xxHash32: %d words", (length, withoutSeed, withSeed) => {
    expect(checksum(words(length))).toBe(withoutSeed);
    expect(checksum(words(length), 2654435761)).toBe(withSeed);
  });

  it("changes with any bit of any word", () => {
    fc.assert(
      fc.property(
        fc.uint32Array({ minLength: 1, maxLength: 70 }),
        fc.nat(),
        fc.nat(31),
        (array, at, bit) => {
          const other = array.slice();
          other[at % array.length]! ^= 1 << bit;
          expect(checksum(other)).not.toBe(checksum(array));
        },
      ),
      runs(2000),
    );
  });

  // A sum of products would lose both: each changes the highest bit only.
  it("changes with two signs", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 5, max: 100 }),
        fc.nat(),
        fc.nat(),
        anyWord,
        (length, a, b, seed) => {
          const weights = new Float32Array(length).fill(1.5);
          const other = weights.slice();
          other[a % length]! *= -1;
          other[b % length]! *= -1;
          const isSame = a % length === b % length;
          const sum = (array: Float32Array): number =>
            checksum(new Uint32Array(array.buffer), seed);
          expect(sum(other) === sum(weights)).toBe(isSame);
        },
      ),
      runs(500),
    );
  });

  it("of arrays depends on their order and borders, and reads views at their places", () => {
    const all = Float32Array.from({ length: 10 }, (_, index) => index);
    const [a, b] = [all.subarray(1, 4), all.subarray(4, 9)];
    expect(checksumOf([a, b])).toBe(checksumOf([a.slice(), b.slice()]));
    expect(checksumOf([b, a])).not.toBe(checksumOf([a, b]));
    expect(checksumOf([a, b])).not.toBe(checksumOf([all.subarray(1, 9)]));
    expect(checksumOf([])).toBe(0);
  });
});

describe("Fingerprint", () => {
  const anyValue = fc.oneof(fc.double({ noNaN: true }), fc.boolean(), fc.string({ maxLength: 20 }));

  function of(
    values: readonly (number | boolean | string)[],
    fingerprint = new Fingerprint(),
  ): number {
    for (const value of values) fingerprint.add(value);
    return fingerprint.finish();
  }

  it("is the same for the same values, and another for one more", () => {
    const used = new Fingerprint();
    fc.assert(
      fc.property(fc.array(anyValue, { maxLength: 100 }), anyValue, (values, value) => {
        const print = of(values);
        expect(Number.isSafeInteger(print)).toBe(true);
        expect(of(values, used)).toBe(print);
        expect(of([...values, value], used)).not.toBe(print);
      }),
      runs(1000),
    );
  });

  it("is another if one number is, be it by its last bit", () => {
    const numbers = fc.float64Array({ minLength: 1, maxLength: 100, noNaN: true });
    fc.assert(
      fc.property(numbers, fc.nat(), fc.nat(63), (values, at, bit) => {
        const other = values.slice();
        const words = new Uint32Array(other.buffer);
        words[2 * (at % other.length) + (bit >> 5)]! ^= 1 << (bit & 31);
        expect(of([...other])).not.toBe(of([...values]));
      }),
      runs(1000),
    );
  });

  it("keeps texts apart that join to the same", () => {
    expect(of(["ab", "c"])).not.toBe(of(["a", "bc"]));
    expect(of([""])).not.toBe(of([]));
  });
});

it("bytes have the same checksum wherever they lie, and another one if a bit differs", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 40 }),
      fc.nat(3),
      fc.nat(),
      (bytes, at, bit) => {
        const moved = new Uint8Array(at + bytes.length).subarray(at);
        moved.set(bytes);
        expect(checksumOf([moved])).toBe(checksumOf([bytes]));
        moved[(bit >> 3) % bytes.length]! ^= 1 << (bit & 7);
        expect(checksumOf([moved])).not.toBe(checksumOf([bytes]));
      },
    ),
    runs(200),
  );
});
