/** How momentum is kept: as float32, or in blocks of 8 bits. */
import { blockCount, dequantizeInto, quantizeInto } from "./blockwise.js";
import { BLOCK_SIZE } from "./codebook.js";

/** Momentum as one float32 per element. */
export interface Float32Momentum {
  readonly kind: "float32";
  readonly values: Float32Array;
}

/** Momentum as one code per element and one absmax per 256 elements. */
export interface BlockwiseMomentum {
  readonly kind: "blockwise";
  readonly codes: Uint8Array;
  readonly absmax: Float32Array;
}

export type Momentum = Float32Momentum | BlockwiseMomentum;

/** The arrays that a momentum is made of. */
export function momentumArrays(momentum: Momentum | null): (Float32Array | Uint8Array)[] {
  if (momentum === null) return [];
  return momentum.kind === "float32" ? [momentum.values] : [momentum.codes, momentum.absmax];
}

export function momentumBytes(momentum: Momentum | null): number {
  return momentumArrays(momentum).reduce((bytes, array) => bytes + array.byteLength, 0);
}

/** Elements that a momentum is of. */
export function momentumSize(momentum: Momentum): number {
  return momentum.kind === "float32" ? momentum.values.length : momentum.codes.length;
}

/** Momentum 0, in ordinary arrays. */
export function emptyMomentum(kind: Momentum["kind"], size: number): Momentum {
  return kind === "float32"
    ? { kind, values: new Float32Array(size) }
    : { kind, codes: new Uint8Array(size), absmax: new Float32Array(blockCount(size)) };
}

/**
 * Elements of a momentum, in the same memory.
 *
 * @param begin a multiple of the block
 * @param end a multiple of the block, or the momentum's own end
 */
export function partOfMomentum(momentum: Momentum, begin: number, end: number): Momentum {
  return momentum.kind === "float32"
    ? { kind: "float32", values: momentum.values.subarray(begin, end) }
    : {
        kind: "blockwise",
        codes: momentum.codes.subarray(begin, end),
        absmax: momentum.absmax.subarray(begin / BLOCK_SIZE, Math.ceil(end / BLOCK_SIZE)),
      };
}

/** Copies a momentum into another of the same size, which may be of the other kind. */
export function copyMomentum(from: Momentum, to: Momentum): void {
  if (from.kind === "float32") {
    if (to.kind === "float32") to.values.set(from.values);
    else quantizeInto(from.values, to);
  } else if (to.kind === "float32") {
    dequantizeInto(from, to.values);
  } else {
    to.codes.set(from.codes);
    to.absmax.set(from.absmax);
  }
}
