/**
 * The safetensors container: a length, a JSON header, and the bytes of the tensors one after the other.
 *
 * Source: https://github.com/huggingface/safetensors, "Format". Readable by Python's `safetensors`.
 */
import { checkObject, shown } from "../check.js";

export type TensorData = Float32Array | Float64Array | Int32Array | Uint32Array | Uint8Array;

export interface Tensor {
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** The parts of a file. */
export interface Safetensors {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

const METADATA = "__metadata__";
const LENGTH_BYTES = 8;
/** The limit of the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000;

type Dtype = "F64" | "F32" | "I32" | "U32" | "U8";

const dtypes = {
  F64: Float64Array,
  F32: Float32Array,
  I32: Int32Array,
  U32: Uint32Array,
  U8: Uint8Array,
} as const;

function dtypeOf(data: TensorData): Dtype {
  if (data instanceof Float64Array) return "F64";
  if (data instanceof Float32Array) return "F32";
  if (data instanceof Int32Array) return "I32";
  return data instanceof Uint32Array ? "U32" : "U8";
}

/** Writes a file. Wide elements come first, so that every tensor is aligned to its element. */
export function encodeSafetensors({ tensors, metadata }: Safetensors): Uint8Array<ArrayBuffer> {
  const sorted = [...tensors].sort(
    ([, a], [, b]) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT,
  );
  const header: Record<string, unknown> = { [METADATA]: metadata };
  let end = 0;
  for (const [name, { shape, data }] of sorted) {
    const start = end;
    end += data.byteLength;
    header[name] = { dtype: dtypeOf(data), shape, data_offsets: [start, end] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const headerBytes = Math.ceil(text.length / LENGTH_BYTES) * LENGTH_BYTES;
  const bytes = new Uint8Array(LENGTH_BYTES + headerBytes + end).fill(
    0x20,
    0,
    LENGTH_BYTES + headerBytes,
  );
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerBytes), true);
  bytes.set(text, LENGTH_BYTES);
  let offset = LENGTH_BYTES + headerBytes;
  for (const [, { data }] of sorted) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
    offset += data.byteLength;
  }
  return bytes;
}

function refuse(reason: string): never {
  throw new RangeError(`safetensors: ${reason}`);
}

/**
 * Reads a file. The tensors are copies, so the bytes need no alignment and may be reused.
 *
 * @throws RangeError that says what is wrong: a cut file, a header of a wrong size, offsets that overlap,
 *   leave gaps or do not fit the shape, another dtype than F64, F32, I32, U32 and U8
 */
export function decodeSafetensors(bytes: Uint8Array): Safetensors {
  const { header, start } = readHeader(bytes);
  const { [METADATA]: metadata = {}, ...entries } = header;
  const tensors = new Map<string, Tensor>();
  const described = Object.entries(entries)
    .map(([name, entry]) => ({ name, ...checkedEntry(name, entry) }))
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  let expected = 0;
  for (const { name, dtype, shape, begin, end } of described) {
    if (begin !== expected) {
      refuse(
        `tensor ${shown(name)} starts at ${String(begin)}; allowed is ${String(expected)}, where the one before ends`,
      );
    }
    expected = end;
    if (start + end > bytes.length) {
      refuse(
        `tensor ${shown(name)} ends ${String(start + end - bytes.length)} bytes beyond the file: it was cut`,
      );
    }
    const copy = new Uint8Array(end - begin);
    copy.set(bytes.subarray(start + begin, start + end));
    tensors.set(name, { shape, data: new dtypes[dtype](copy.buffer) });
  }
  if (start + expected !== bytes.length) {
    refuse(
      `${String(bytes.length - start - expected)} bytes follow the last tensor; allowed are none`,
    );
  }
  return { tensors, metadata: checkedMetadata(metadata) };
}

function readHeader(bytes: Uint8Array): { header: Record<string, unknown>; start: number } {
  if (!(bytes instanceof Uint8Array)) {
    throw new TypeError(`safetensors: got ${shown(bytes)}; allowed is a Uint8Array`);
  }
  if (bytes.length < LENGTH_BYTES)
    refuse(`the file has ${String(bytes.length)} bytes, no header fits`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = Number(view.getBigUint64(0, true));
  const most = Math.min(MAX_HEADER_BYTES, bytes.length - LENGTH_BYTES);
  if (length > most)
    refuse(`the header is said to have ${String(length)} bytes; allowed are ${String(most)}`);
  const start = LENGTH_BYTES + length;
  return { header: parseHeader(bytes.slice(LENGTH_BYTES, start)), start };
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    refuse("the header is no JSON");
  }
  return checkObject("safetensors: header", header);
}

interface Entry {
  dtype: Dtype;
  shape: number[];
  begin: number;
  end: number;
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function checkedEntry(name: string, value: unknown): Entry {
  const {
    dtype,
    shape,
    data_offsets: offsets,
  } = checkObject(`safetensors: tensor ${shown(name)}`, value);
  if (typeof dtype !== "string" || !(dtype in dtypes)) {
    refuse(
      `tensor ${shown(name)} has dtype ${shown(dtype)}; allowed are ${Object.keys(dtypes).join(", ")}`,
    );
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    refuse(`tensor ${shown(name)}: the shape is no list of sizes`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    refuse(`tensor ${shown(name)}: data_offsets are no two positions`);
  }
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce<number>(
    (product, length) => product * length,
    dtypes[dtype as Dtype].BYTES_PER_ELEMENT,
  );
  if (end - begin !== bytes) {
    refuse(
      `tensor ${shown(name)} with shape [${shape.join(", ")}] has ${String(end - begin)} bytes; allowed are ${String(bytes)}`,
    );
  }
  return { dtype: dtype as Dtype, shape, begin, end };
}

function checkedMetadata(value: unknown): Record<string, string> {
  const metadata = checkObject("safetensors: metadata", value);
  for (const [key, text] of Object.entries(metadata)) {
    if (typeof text !== "string")
      refuse(`metadata ${shown(key)} is ${shown(text)}; allowed is a string`);
  }
  return metadata as Record<string, string>;
}
