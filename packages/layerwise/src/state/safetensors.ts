/**
 * The safetensors container: a length, a JSON header, and the bytes of the tensors one after the other.
 *
 * Source: https://github.com/huggingface/safetensors, "Format". Readable by Python's `safetensors`.
 */
import { checkObject, checkShape, shown, shownShape } from "../check.js";
import { checkJson, parseJson } from "./json.js";

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
/**
 * 16 MiB. A layer takes about 500 bytes, so this is enough for 30,000 of them, and the slowest header takes about a
 * second. The reference implementation reads 100 MB.
 */
const MAX_HEADER_BYTES = 2 ** 24;

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

/**
 * Writes a file. Wide elements come first, so that every tensor is aligned to its element.
 *
 * @throws RangeError for names and metadata that {@link decodeSafetensors} would not read: with lone surrogates, or in
 *   a header of more than 16 MiB
 */
export function encodeSafetensors({ tensors, metadata }: Safetensors): Uint8Array<ArrayBuffer> {
  const sorted = [...tensors].sort(
    ([, a], [, b]) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT,
  );
  let end = 0;
  const entries = sorted.map(([name, { shape, data }]) => {
    if (name === METADATA) refuse(`tensor ${shown(name)}: expected another name`);
    const start = end;
    end += data.byteLength;
    return [name, { dtype: dtypeOf(data), shape, data_offsets: [start, end] }] as const;
  });
  const text = headerText(Object.fromEntries<unknown>([[METADATA, metadata], ...entries]));
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

/** The library does not write what it would not read. */
function headerText(header: Readonly<Record<string, unknown>>): Uint8Array {
  const text = JSON.stringify(header);
  checkJson("safetensors: header", text);
  const bytes = new TextEncoder().encode(text);
  checkHeaderBytes(bytes.length, MAX_HEADER_BYTES);
  return bytes;
}

function refuse(reason: string): never {
  throw new RangeError(`safetensors: ${reason}`);
}

function checkHeaderBytes(bytes: number, most: number): void {
  if (bytes > most) refuse(`header: expected at most ${String(most)} bytes, got ${String(bytes)}`);
}

/**
 * Reads a file. The tensors are copies, so the bytes need no alignment and may be reused.
 *
 * @throws TypeError or RangeError that says what is wrong: a truncated file, a header of a wrong size, that is not JSON or
 *   has a duplicate name, offsets that overlap, leave gaps or do not fit the shape, a dtype other than F64, F32, I32, U32 and U8
 */
export function decodeSafetensors(bytes: Uint8Array): Safetensors {
  const { header, start } = readHeader(bytes);
  const { [METADATA]: metadata = {} } = header;
  const tensors = new Map<string, Tensor>();
  const described = Object.entries(header)
    .filter(([name]) => name !== METADATA)
    .map(([name, entry]) => ({ name, ...checkedEntry(`tensor ${shown(name)}`, entry) }))
    .sort((a, b) => a.begin - b.begin || a.end - b.end);
  let expected = 0;
  for (const { name, dtype, shape, begin, end } of described) {
    if (begin !== expected) {
      refuse(
        `tensor ${shown(name)}: expected to start at ${String(expected)}, where the previous tensor ends, got ${String(begin)}`,
      );
    }
    expected = end;
    if (start + end > bytes.length) {
      refuse(
        `tensor ${shown(name)}: expected to end in the file, got ${String(start + end - bytes.length)} bytes beyond its end: the file is truncated`,
      );
    }
    const copy = new Uint8Array(end - begin);
    copy.set(bytes.subarray(start + begin, start + end));
    tensors.set(name, { shape, data: new dtypes[dtype](copy.buffer) });
  }
  if (start + expected !== bytes.length) {
    refuse(
      `expected no bytes after the last tensor, got ${String(bytes.length - start - expected)}`,
    );
  }
  return { tensors, metadata: checkedMetadata(metadata) };
}

function readHeader(bytes: Uint8Array): { header: Record<string, unknown>; start: number } {
  if (!(bytes instanceof Uint8Array)) {
    throw new TypeError(`safetensors: expected a Uint8Array, got ${shown(bytes)}`);
  }
  if (bytes.length < LENGTH_BYTES) {
    refuse(`file: expected at least ${String(LENGTH_BYTES)} bytes, got ${String(bytes.length)}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = Number(view.getBigUint64(0, true));
  checkHeaderBytes(length, Math.min(MAX_HEADER_BYTES, bytes.length - LENGTH_BYTES));
  const start = LENGTH_BYTES + length;
  return { header: parseHeader(bytes.slice(LENGTH_BYTES, start)), start };
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  // Here a TextDecoder would pass over a byte-order mark. The format has the header begin with a brace.
  if (bytes[0] !== "{".charCodeAt(0)) {
    refuse(`header: expected a first byte "{", got ${hexOf(bytes.subarray(0, 3))}`);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    refuse("header: expected UTF-8, got other bytes");
  }
  return checkObject("safetensors: header", parseJson("safetensors: header", text));
}

function hexOf(bytes: Uint8Array): string {
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0"));
  return digits.join(" ") || "none";
}

interface Entry {
  dtype: Dtype;
  shape: number[];
  begin: number;
  end: number;
}

function checkedEntry(what: string, value: unknown): Entry {
  const { dtype, shape, data_offsets: offsets } = checkObject(`safetensors: ${what}`, value);
  if (!isDtype(dtype)) {
    refuse(
      `${what}: dtype: expected one of ${Object.keys(dtypes).join(", ")}, got ${shown(dtype)}`,
    );
  }
  const size = checkShape(`safetensors: ${what}: shape`, shape, { least: 0 });
  if (!isRange(offsets)) {
    refuse(
      `${what}: data_offsets: expected two positions, got ${Array.isArray(offsets) ? shownShape(offsets) : shown(offsets)}`,
    );
  }
  const [begin, end] = offsets;
  const bytes = size * dtypes[dtype].BYTES_PER_ELEMENT;
  if (end - begin !== bytes) {
    refuse(
      `${what} with shape ${shownShape(shape as number[])}: expected ${String(bytes)} bytes, got ${String(end - begin)}`,
    );
  }
  return { dtype, shape: shape as number[], begin, end };
}

function isDtype(value: unknown): value is Dtype {
  return typeof value === "string" && Object.hasOwn(dtypes, value);
}

function isRange(value: unknown): value is [begin: number, end: number] {
  const isPosition = (position: unknown): boolean =>
    Number.isSafeInteger(position) && (position as number) >= 0;
  return Array.isArray(value) && value.length === 2 && value.every(isPosition);
}

function checkedMetadata(value: unknown): Record<string, string> {
  const metadata = checkObject("safetensors: metadata", value);
  for (const [key, text] of Object.entries(metadata)) {
    if (typeof text !== "string")
      refuse(`metadata ${shown(key)}: expected a string, got ${shown(text)}`);
  }
  return metadata as Record<string, string>;
}
