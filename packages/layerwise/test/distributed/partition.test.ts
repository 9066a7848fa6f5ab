/** Parts of layers: contiguous, whole chunks, level to within a chunk. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { partition } from "../../src/distributed/sharded/partition.js";
import { CHUNK_SIZE } from "../../src/kernels/kernel.js";
import { runs } from "../helpers/arbitraries.js";

const anySize = fc.oneof(
  fc.integer({ min: 1, max: 300 }),
  fc
    .tuple(fc.integer({ min: 1, max: 9 }), fc.constantFrom(-1, 0, 1))
    .map(([chunks, more]) => chunks * CHUNK_SIZE + more),
);
const sequences = fc.array(fc.array(anySize, { minLength: 1, maxLength: 12 }), {
  minLength: 1,
  maxLength: 4,
});

it("every element has one owner; ranks are in order; shards begin and end at chunks; loads are level", () => {
  fc.assert(
    fc.property(sequences, fc.constantFrom(1, 2, 3, 4, 8, 64), (groups, size) => {
      const owned = new Array<number>(size).fill(0);
      for (const sizes of groups) {
        const shards = partition(sizes, [...owned]);
        let last = 0;
        sizes.forEach((elements, layer) => {
          let at = 0;
          shards[layer]!.forEach(({ begin, end }, rank) => {
            if (begin === end) return;
            expect(begin).toBe(at);
            expect(begin % CHUNK_SIZE).toBe(0);
            expect(end % CHUNK_SIZE === 0 || end === elements).toBe(true);
            expect(rank).toBeGreaterThanOrEqual(last);
            last = rank;
            at = end;
            owned[rank]! += end - begin;
          });
          expect(at).toBe(elements);
        });
        const total = owned.reduce((sum, elements) => sum + elements, 0);
        // 1/N and a chunk; rounding of the parts' ends is below one element.
        expect(Math.max(...owned)).toBeLessThan(total / size + CHUNK_SIZE + 1);
      }
    }),
    runs(500),
  );
});

it("a layer can span three processes, and a process can own nothing", () => {
  const [spanning] = partition([3 * CHUNK_SIZE], [0, 0, 0]);
  expect(spanning!.map(({ begin, end }) => (end - begin) / CHUNK_SIZE)).toEqual([1, 1, 1]);
  const [small, empty] = partition([5, 7], [0, 0, 0, 0]);
  const owners = [...small!, ...empty!].filter(({ begin, end }) => begin < end);
  expect(owners).toHaveLength(2);
});
