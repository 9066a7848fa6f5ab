/** Memory of our own: every byte has one owner at a time, whatever is allocated and freed in whatever order. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Allocation } from "../src/kernels/wasm/memory/allocation.js";
import { Arena } from "../src/kernels/wasm/memory/arena.js";

const PAGE = 65_536;

function createArena(maximum: number, shared = true): Arena {
  return new Arena(new WebAssembly.Memory({ initial: 1, maximum, shared }), maximum);
}

describe.each([true, false])("an arena, memory shared: %s", (shared) => {
  it("gives zeroed bytes that overlap no others, and has them all back in the end", () => {
    const action = fc.oneof(
      fc.record({ allocate: fc.integer({ min: 1, max: 3 * PAGE }) }),
      fc.record({ free: fc.nat() }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const arena = createArena(32, shared);
        const live: Allocation[] = [];
        let marks = 0;
        for (const step of actions) {
          if ("free" in step) {
            const [freed] = live.splice(step.free % Math.max(1, live.length), 1);
            freed?.free();
            continue;
          }
          const allocation = arena.allocate(step.allocate);
          if (allocation === null) continue;
          expect(allocation.address % 64).toBe(0);
          const bytes = allocation.view(Uint8Array, allocation.bytes);
          expect(bytes.every((byte) => byte === 0)).toBe(true);
          bytes.fill((marks++ % 255) + 1);
          live.push(allocation);
        }
        for (const allocation of live) {
          const bytes = allocation.view(Uint8Array, allocation.bytes);
          expect(bytes.every((byte) => byte === bytes[0])).toBe(true);
        }
        expect(arena.used).toBe(live.reduce((sum, { bytes }) => sum + bytes, 0));
        for (const allocation of live) allocation.free();
        expect(arena.used).toBe(0);
        // All in one piece again.
        expect(arena.allocate(arena.buffer.byteLength - 64)).not.toBeNull();
      }),
      { numRuns: 200 },
    );
  });

  it("refuses to free twice, and to show what was freed", () => {
    const arena = createArena(4, shared);
    const allocation = arena.allocate(100)!;
    allocation.free();
    expect(() => {
      allocation.free();
    }).toThrow(/expected memory in use, got freed memory/);
    expect(() => allocation.view(Uint8Array, 1)).toThrow(/got freed memory/);
    expect(arena.used).toBe(0);
  });

  it("has no view beyond an allocation's end", () => {
    const allocation = createArena(4, shared).allocate(64)!;
    expect(() => allocation.view(Float32Array, 17)).toThrow(RangeError);
    expect(() => allocation.view(Float32Array, 1, 64)).toThrow(RangeError);
  });

  it("says null when it is full, and goes on", () => {
    const arena = createArena(2, shared);
    const first = arena.allocate(PAGE)!;
    expect(arena.allocate(PAGE)).toBeNull();
    first.free();
    expect(arena.allocate(PAGE)).not.toBeNull();
  });
});

it("knows views of shared memory from before it grew, and of other memory only its newest", () => {
  for (const shared of [true, false]) {
    const arena = createArena(8, shared);
    const allocation = arena.allocate(64)!;
    const before = allocation.view(Float32Array, 16);
    arena.allocate(3 * PAGE);
    expect(arena.holds(before)).toBe(shared);
    expect(arena.holds(allocation.view(Float32Array, 16))).toBe(true);
    expect(arena.holds(new Float32Array(16))).toBe(false);
  }
});

it("lets unshared memory not grow during a pass, whose views would be lost", () => {
  const unshared = createArena(8, false);
  expect(() => unshared.pinned(() => unshared.allocate(64))).toThrow(/during a pass/);
  expect(unshared.allocate(64)).not.toBeNull();
  const shared = createArena(8, true);
  expect(shared.pinned(() => shared.allocate(64))).not.toBeNull();
});

it("frees 16,000 parameters' blocks in no time (it took 10 s)", () => {
  const arena = createArena(1024);
  const allocations = Array.from({ length: 48_000 }, () => arena.allocate(1000)!);
  const started = performance.now();
  for (const allocation of allocations.filter((_, index) => index % 2 === 0)) allocation.free();
  for (const allocation of allocations.filter((_, index) => index % 2 === 1)) allocation.free();
  expect(performance.now() - started).toBeLessThan(1000);
  expect(arena.used).toBe(0);
});
