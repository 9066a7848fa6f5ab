/** Comparisons up to rounding. */
import { wrongCodes } from "./codes.js";
import { demand, demandSame } from "./verify.js";
import type { WorldLayer, WorldMomentum } from "./world.js";

export function near(actual: number, expected: number, relative: number): boolean {
  return Math.abs(actual - expected) <= relative * Math.max(Math.abs(expected), 1e-30);
}

export function demandNear(
  actual: Float32Array,
  expected: Float64Array,
  tolerance: number,
  what: string,
): void {
  demand(actual.length === expected.length, () => `${what}: ${actual.length} elements`);
  for (let i = 0; i < expected.length; i++) {
    if (Math.abs(actual[i]! - expected[i]!) <= tolerance) continue;
    demand(
      false,
      () => `${what}: element ${i} is ${actual[i]}, expected ${expected[i]} ± ${tolerance}`,
    );
  }
}

/**
 * Under skipZeros a block of codes without a gradient stays as it is: quantised again it would drift, since -1 has no
 * code.
 *
 * @returns these blocks
 */
export function demandUntouchedBlocks(
  layer: WorldLayer,
  after: WorldMomentum,
  what: string,
): Set<number> {
  const { momentum: before, group, parameter } = layer;
  const untouched = new Set<number>();
  if (!group.options.skipZeros || before?.kind !== "blockwise" || after.kind !== "blockwise") {
    return untouched;
  }
  const gradient = parameter.gradient!.values;
  before.absmax.forEach((absmax, block) => {
    const [start, end] = [256 * block, 256 * (block + 1)];
    if (gradient.subarray(start, end).some((value) => value !== 0)) return;
    untouched.add(block);
    demand(absmax === after.absmax[block], () => `${what}: block ${block} without gradient`);
    const codes = [before, after].map((momentum) => momentum.codes.subarray(start, end));
    demandSame(codes[1]!, codes[0]!, `${what}: block ${block} without gradient`);
  });
  return untouched;
}

export function demandMomentum(
  momentum: WorldMomentum,
  expected: Float64Array,
  tolerance: number,
  what: string,
  untouched: ReadonlySet<number> = new Set(),
): void {
  if (momentum.kind === "float32") {
    demandNear(momentum.values, expected, tolerance, `${what}: momentum`);
  } else {
    const wrong = wrongCodes(momentum, expected, tolerance, untouched);
    demand(wrong === null, () => `${what}: ${String(wrong)}`);
  }
}
