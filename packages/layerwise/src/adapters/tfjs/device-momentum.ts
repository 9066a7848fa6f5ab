/** A layer's momentum as tensors of a device: float32 numbers, or 8-bit codes. */
import type { Momentum } from "../../kernels/kernel.js";
import { blockCount } from "../../state/blockwise.js";
import { BLOCK_SIZE, codebookMidpoints, createDynamicMap } from "../../state/codebook.js";
import type { Tensor, TensorData, TensorFlow } from "./tensorflow.js";

/** How many codes are in one number, and of what kind that is. */
export interface Packing {
  readonly codes: 3 | 4;
  readonly dtype: "float32" | "int32";
}

/**
 * Three, not four, for tensor operations: WebGL keeps integers in float32, exact up to 2^24, so that 8-bit state
 * takes 1.35 bytes a parameter there.
 */
export const PACKED_IN_THREES: Packing = { codes: 3, dtype: "float32" };
/** For shaders that have integers. */
export const PACKED_IN_FOURS: Packing = { codes: 4, dtype: "int32" };

const CODES_PER_NUMBER = PACKED_IN_THREES.codes;
const BASE = 256;

export interface DeviceFloat32Momentum {
  readonly kind: "float32";
  /** [size] */
  readonly values: Tensor;
}

export interface DeviceBlockwiseMomentum {
  readonly kind: "blockwise";
  readonly packing: Packing;
  /** [⌈256·blocks / codes a number⌉], the first code in the lowest byte. */
  readonly codes: Tensor;
  /** [blocks] */
  readonly absmax: Tensor;
}

export type DeviceMomentum = DeviceFloat32Momentum | DeviceBlockwiseMomentum;

const codebook = createDynamicMap();
const midpoints = codebookMidpoints(codebook);

/** Puts a momentum on the device. */
export function upload(tf: TensorFlow, momentum: Momentum, packing: Packing): DeviceMomentum {
  if (momentum.kind === "float32") {
    const { values } = momentum;
    return { kind: "float32", values: tf.tensor(values.slice(), [values.length], "float32") };
  }
  const { codes, absmax } = momentum;
  const numbers = packed(codes, packing);
  return {
    kind: "blockwise",
    packing,
    codes: tf.tensor(numbers, [numbers.length], packing.dtype),
    absmax: tf.tensor(absmax.slice(), [absmax.length], "float32"),
  };
}

function packed(codes: Uint8Array, packing: Packing): Float32Array | Int32Array {
  const length = Math.ceil((blockCount(codes.length) * BLOCK_SIZE) / packing.codes);
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
    absmax: Float32Array.from(second ?? []),
  };
}

/** The stored momentum as [size] float32; codes in {@link PACKED_IN_THREES}. */
export function decode(tf: TensorFlow, momentum: DeviceMomentum, size: number): Tensor {
  if (momentum.kind === "float32") return momentum.values;
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
