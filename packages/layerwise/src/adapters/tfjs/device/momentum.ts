/** A layer's momentum as tensors of a device: float32 numbers, or 8-bit codes. */
import { blockCount } from "../../../state/blockwise.js";
import { BLOCK_SIZE, codebookMidpoints, createDynamicMap } from "../../../state/codebook.js";
import type { Momentum } from "../../../state/momentum.js";
import type { Tensor, TensorData, TensorFlow } from "../tensorflow.js";

/** How many codes are in one number, of what kind that is, and whether numbers lie in one row or in a table. */
export interface Packing {
  readonly codes: 3 | 4;
  readonly dtype: "float32" | "int32";
  readonly isTable: boolean;
}

/**
 * Three, not four, for tensor operations: WebGL keeps integers in float32, exact up to 2^24, so that 8-bit state
 * takes 1.35 bytes a parameter there.
 */
export const PACKED_IN_THREES: Packing = { codes: 3, dtype: "float32", isTable: false };
/**
 * For WebGL's texels, of two rows and columns: half of those of a single row would be empty. Columns are a power of two,
 * so that a number is found without a division.
 */
export const PACKED_FOR_TEXELS: Packing = { codes: 3, dtype: "float32", isTable: true };
/** For shaders that have integers. */
export const PACKED_IN_FOURS: Packing = { codes: 4, dtype: "int32", isTable: false };

const CODES_PER_NUMBER = PACKED_IN_THREES.codes;
const BASE = 256;

export interface DeviceFloat32Momentum {
  readonly kind: "float32";
  /** Of the variable's shape. */
  readonly values: Tensor;
}

export interface DeviceBlockwiseMomentum {
  readonly kind: "blockwise";
  readonly packing: Packing;
  /** [⌈256·blocks / codes a number⌉], or a table that holds as many, the first code in the lowest byte. */
  readonly codes: Tensor;
  /** [blocks], or a table that holds as many. */
  readonly absmax: Tensor;
}

export type DeviceMomentum = DeviceFloat32Momentum | DeviceBlockwiseMomentum;

const codebook = createDynamicMap();
const midpoints = codebookMidpoints(codebook);

/** Puts the momentum of a variable of some shape on the device. */
export function upload(
  tf: TensorFlow,
  momentum: Momentum,
  { packing, shape: of }: { readonly packing: Packing; readonly shape: readonly number[] },
): DeviceMomentum {
  if (momentum.kind === "float32") {
    const values = tf.tensor(momentum.values.slice(), [...of], "float32");
    return { kind: "float32", values };
  }
  const { codes, absmax } = momentum;
  const shape = shapeOf(Math.ceil((absmax.length * BLOCK_SIZE) / packing.codes), packing);
  return {
    kind: "blockwise",
    packing,
    codes: tf.tensor(packed(codes, packing, product(shape)), shape, packing.dtype),
    absmax: filled(tf, absmax, shapeOf(absmax.length, packing)),
  };
}

/** A tensor that begins with some values. */
function filled(tf: TensorFlow, values: Float32Array, shape: number[]): Tensor {
  const all = new Float32Array(product(shape));
  all.set(values);
  return tf.tensor(all, shape, "float32");
}

/** How so many numbers lie. A table is nearly square, so that it fits where the variable's own texture does. */
function shapeOf(numbers: number, { isTable }: Packing): number[] {
  if (!isTable) return [numbers];
  const columns = 2 * 2 ** Math.max(0, Math.round(Math.log2(Math.sqrt(numbers) / 2)));
  return [2 * Math.ceil(numbers / columns / 2), columns];
}

function product(shape: readonly number[]): number {
  return shape.reduce((all, size) => all * size, 1);
}

function packed(codes: Uint8Array, packing: Packing, length: number): Float32Array | Int32Array {
  const bytes = new Uint8Array(4 * length);
  codes.forEach((code, index) => {
    const place = index % packing.codes;
    bytes[(4 * (index - place)) / packing.codes + place] = code;
  });
  const numbers = new Int32Array(bytes.buffer);
  return packing.dtype === "int32" ? numbers : Float32Array.from(numbers);
}

function unpacked(numbers: ArrayLike<number>, size: number, packing: Packing): Uint8Array {
  const bytes = new Uint8Array(Int32Array.from(numbers).buffer);
  return Uint8Array.from({ length: size }, (_, index) => {
    const place = index % packing.codes;
    return bytes[(4 * (index - place)) / packing.codes + place]!;
  });
}

/** The tensors of a momentum, in the order in which {@link download} takes their values. */
export function tensorsOf(momentum: DeviceMomentum | null): Tensor[] {
  if (momentum === null) return [];
  return momentum.kind === "float32" ? [momentum.values] : [momentum.codes, momentum.absmax];
}

/** A momentum from the values of its tensors. */
export function download(
  momentum: DeviceMomentum,
  size: number,
  [first, second]: readonly TensorData[],
): Momentum {
  const { kind } = momentum;
  if (kind === "float32") return { kind, values: Float32Array.from(first ?? []) };
  return {
    kind,
    codes: unpacked(first ?? [], size, momentum.packing),
    absmax: Float32Array.from(second ?? []).slice(0, blockCount(size)),
  };
}

/** The stored momentum as [size] float32; codes in {@link PACKED_IN_THREES}. */
export function decode(tf: TensorFlow, momentum: DeviceMomentum, size: number): Tensor {
  if (momentum.kind === "float32") return tf.reshape(momentum.values, [size]);
  const blocks = blockCount(size);
  const values = tf.gather(
    tf.tensor(codebook, [codebook.length]),
    tf.cast(unpack(tf, momentum.codes, blocks * BLOCK_SIZE), "int32"),
  );
  const scaled = tf.mul(
    tf.reshape(values, [blocks, BLOCK_SIZE]),
    tf.reshape(momentum.absmax, [blocks, 1]),
  );
  return tf.slice(tf.reshape(scaled, [blocks * BLOCK_SIZE]), 0, size);
}

/**
 * Codes and absmax to be stored, in {@link PACKED_IN_THREES}.
 *
 * @param values [size] float32, the new momentum
 * @param touched [size] bool: blocks without any are left as they were stored; null: all are
 */
export function encode(
  tf: TensorFlow,
  before: DeviceBlockwiseMomentum,
  values: Tensor,
  touched: Tensor | null,
): Pick<DeviceBlockwiseMomentum, "codes" | "absmax"> {
  const blocks = blockCount(values.size);
  const rows = toBlocks(tf, values, blocks);
  const absmax = tf.max(tf.abs(rows), 1);
  const divisor = tf.where(tf.greater(absmax, 0), absmax, tf.fill([blocks], 1));
  const normalized = tf.div(rows, tf.reshape(divisor, [blocks, 1]));
  const codes = tf.cast(nearestCodes(tf, tf.reshape(normalized, [blocks * BLOCK_SIZE])), "float32");
  if (touched === null) return { codes: pack(tf, codes), absmax };
  const rewritten = tf.any(tf.notEqual(toBlocks(tf, tf.cast(touched, "float32"), blocks), 0), 1);
  const kept = tf.where(
    tf.reshape(rewritten, [blocks, 1]),
    tf.reshape(codes, [blocks, BLOCK_SIZE]),
    tf.reshape(unpack(tf, before.codes, blocks * BLOCK_SIZE), [blocks, BLOCK_SIZE]),
  );
  return {
    codes: pack(tf, tf.reshape(kept, [blocks * BLOCK_SIZE])),
    absmax: tf.where(rewritten, absmax, before.absmax),
  };
}

function toBlocks(tf: TensorFlow, values: Tensor, blocks: number): Tensor {
  const padded = tf.pad(values, [[0, blocks * BLOCK_SIZE - values.size]]);
  return tf.reshape(padded, [blocks, BLOCK_SIZE]);
}

/** The number of midpoints below each value, which is the nearest code, the lower one on a tie. */
function nearestCodes(tf: TensorFlow, values: Tensor): Tensor {
  const sorted = tf.tensor(midpoints, [midpoints.length]);
  const { backendName } = tf.engine();
  if (tf.getKernel("SearchSorted", backendName) !== undefined) {
    // [1, size]: tf.lowerBound searches in rows.
    return tf.reshape(tf.lowerBound(sorted, values), [values.size]);
  }
  let codes = tf.fill([values.size], 0);
  for (let bit = BASE / 2; bit >= 1; bit /= 2) {
    const below = tf.gather(sorted, tf.cast(tf.add(codes, bit - 1), "int32"));
    codes = tf.where(tf.greater(values, below), tf.add(codes, bit), codes);
  }
  return codes;
}

/** Arithmetic on whole numbers below 2^24 and powers of two: exact in float32. */
function unpack(tf: TensorFlow, numbers: Tensor, length: number): Tensor {
  const upper = tf.floor(tf.mul(numbers, 1 / BASE));
  const high = tf.floor(tf.mul(upper, 1 / BASE));
  const middle = tf.sub(upper, tf.mul(high, BASE));
  const low = tf.sub(numbers, tf.mul(upper, BASE));
  const codes = tf.stack([low, middle, high], 1);
  return tf.slice(tf.reshape(codes, [numbers.size * CODES_PER_NUMBER]), 0, length);
}

function pack(tf: TensorFlow, codes: Tensor): Tensor {
  const numbers = Math.ceil(codes.size / CODES_PER_NUMBER);
  const padded = tf.pad(codes, [[0, numbers * CODES_PER_NUMBER - codes.size]]);
  const places = tf.tensor(
    Float32Array.from({ length: CODES_PER_NUMBER }, (_, place) => BASE ** place),
    [1, CODES_PER_NUMBER],
  );
  return tf.sum(tf.mul(tf.reshape(padded, [numbers, CODES_PER_NUMBER]), places), 1);
}
