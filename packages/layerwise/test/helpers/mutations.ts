/** Damage to safetensors files: of bytes, of the header's text, of what its JSON says, and of the tensors' values. */

/** Uniform numbers in [0, 1). */
export type Random = () => number;

type Json = string | number | boolean | null | Json[] | { [name: string]: Json };
type Place = [container: Json[] | Record<string, Json>, key: string];

export function pick<Value>(random: Random, values: readonly Value[]): Value {
  return values[Math.floor(random() * values.length)]!;
}

function below(random: Random, limit: number): number {
  return Math.floor(random() * limit);
}

function joined(...parts: Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function headerLength(file: Uint8Array): number {
  return Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
}

function headerText(file: Uint8Array): string {
  return new TextDecoder().decode(file.subarray(8, 8 + headerLength(file)));
}

/** The file with another header, whose length it says. */
function withHeader(file: Uint8Array, text: string): Uint8Array {
  const header = new TextEncoder().encode(text);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
  return joined(length, header, file.subarray(8 + headerLength(file)));
}

const BYTES = [0, 1, 0x20, 0x22, 0x2c, 0x5b, 0x5c, 0x7b, 0x7d, 0x7f, 0x80, 0xc0, 0xed, 0xef, 0xff];

/** One to eight bytes are other ones. */
export function damagedBytes(file: Uint8Array, random: Random): Uint8Array {
  const bytes = file.slice();
  // Half of them in the header, which is where most of them matter.
  const limit = random() < 0.5 ? bytes.length : 8 + headerLength(file);
  for (let count = 1 + below(random, 8); count > 0; count--) {
    const at = below(random, limit);
    if (random() < 0.5) bytes[at]! ^= 1 << below(random, 8);
    else bytes[at] = pick(random, BYTES);
  }
  return bytes;
}

const LENGTHS = [0n, 1n, 7n, 2n ** 24n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

/** Cut, longer, with a piece doubled or missing, the end of another file, or another length of header. */
export function spliced(
  file: Uint8Array,
  random: Random,
  others: readonly Uint8Array[],
): Uint8Array {
  const [start = 0, end = 0] = [below(random, file.length), below(random, file.length)].sort(
    (a, b) => a - b,
  );
  const other = pick(random, others);
  switch (below(random, 6)) {
    case 0:
      return file.slice(0, start);
    case 1:
      return joined(file, file.subarray(start, end));
    case 2:
      return joined(file.subarray(0, end), file.subarray(start));
    case 3:
      return joined(file.subarray(0, start), file.subarray(end));
    case 4:
      return joined(file.subarray(0, start), other.subarray(below(random, other.length)));
    default: {
      const bytes = file.slice();
      const length = BigInt(headerLength(file) + below(random, 64) - 32);
      const said = random() < 0.5 ? pick(random, LENGTHS) : BigInt.asUintN(64, length);
      new DataView(bytes.buffer).setBigUint64(0, said, true);
      return bytes;
    }
  }
}

const PIECES: readonly string[] = [
  ...'{}[]:,"\\ \n\u0000\ufeff\u2028é-+.eE0'.split(""),
  ...["null", "true", "NaN", "1e999", "-0", "9007199254740993", "0x10", "01", '""', "[]", "{}"],
  ...[
    '"\\ud800"',
    '"\\u0000"',
    '"\\q"',
    '"a":1,',
    "[[[[[[[[[",
    '{"a":{"a":{"a":{"a":',
    "//",
    "/**/",
  ],
];

/** Tokens of the header's text are replaced, doubled, left out or moved, or others put between them. */
export function editedText(file: Uint8Array, random: Random): Uint8Array {
  const tokens: string[] = headerText(file).match(/"(?:[^"\\]|\\.)*"|[-\w.]+|\s+|./gs) ?? [];
  for (let count = 1 + below(random, 3); count > 0; count--) {
    const at = below(random, tokens.length);
    switch (below(random, 5)) {
      case 0:
        tokens[at] = pick(random, PIECES);
        break;
      case 1:
        tokens.splice(at, 0, pick(random, PIECES));
        break;
      case 2:
        tokens.splice(at, 1 + below(random, 4));
        break;
      case 3: {
        // A name with what follows it, once more: "name":value,
        const end = tokens.indexOf(",", at);
        if (end > at) tokens.splice(at, 0, ...tokens.slice(at, end + 1));
        break;
      }
      default:
        tokens.splice(below(random, tokens.length), 0, ...tokens.splice(at, 2));
    }
  }
  return withHeader(file, tokens.join(""));
}

const VALUES: readonly Json[] = [
  ...[0, -0, 1, -1, 2, 0.5, 4, 100, 255, 256, 257, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 1e308],
  ...[
    "",
    "F32",
    "F64",
    "U8",
    "F16",
    "float32",
    "blockwise",
    "toString",
    "__proto__",
    "optimizer/0/codes",
  ],
  ...["\ud800", "\ufeff", "{}", "null", "layerwise.checkpoint", "1", "2"],
  ...[null, true, false, [], {}, [0], [1], [-1], [2.5], [null], [2 ** 53, 2], [0, 4], [[]]],
  { dtype: "F32", shape: [1], data_offsets: [0, 4] },
];

/** Every value in a structure, as where it stands. */
function placesIn(value: Json): Place[] {
  if (typeof value !== "object" || value === null) return [];
  const container = value as Record<string, Json>;
  return Object.keys(container).flatMap((key): Place[] => [
    [container, key],
    ...placesIn(container[key]!),
  ]);
}

/** One to three values of a structure are other ones, gone, renamed, doubled, swapped or moved a little. */
function edit(root: Record<string, Json>, random: Random): void {
  for (let count = 1 + below(random, 3); count > 0; count--) {
    const places = placesIn(root);
    if (places.length === 0) return;
    const [container, key] = pick(random, places) as [Record<string, Json>, string];
    const [other, otherKey] = pick(random, places) as [Record<string, Json>, string];
    const value = container[key]!;
    switch (below(random, 6)) {
      case 0:
        container[key] = structuredClone(pick(random, VALUES));
        break;
      case 1:
        if (Array.isArray(container)) container.splice(Number(key), 1);
        else Reflect.deleteProperty(container, key);
        break;
      case 2:
        container[pick(random, [otherKey, `${key}x`, "optimizer/1/codes", ""])] =
          structuredClone(value);
        Reflect.deleteProperty(container, key);
        break;
      case 3:
        if (Array.isArray(container)) container.push(structuredClone(value));
        else container[`${key}'`] = structuredClone(value);
        break;
      case 4:
        container[key] = structuredClone(other[otherKey] ?? null);
        other[otherKey] = structuredClone(value);
        break;
      default:
        if (typeof value === "number") {
          container[key] = value + pick(random, [-8, -4, -1, 1, 4, 8, 0.5, 1e300]);
        } else if (typeof value === "string") container[key] = `${value}${pick(random, PIECES)}`;
    }
  }
}

/** The header says something else. */
export function editedHeader(file: Uint8Array, random: Random): Uint8Array {
  const header = JSON.parse(headerText(file)) as Record<string, Json>;
  edit(header, random);
  return withHeader(file, JSON.stringify(header));
}

/** The state in the header's metadata says something else. */
export function editedState(file: Uint8Array, random: Random): Uint8Array {
  const header = JSON.parse(headerText(file)) as Record<string, Record<string, Json>>;
  const metadata = header.__metadata__!;
  const state = JSON.parse(metadata.state as string) as Record<string, Json>;
  edit(state, random);
  metadata.state = JSON.stringify(state);
  return withHeader(file, JSON.stringify(header));
}

const NUMBERS = [NaN, Infinity, -Infinity, 0, -0, -1, 1e-45, 1e-300, 1e38, -3.4e38, 1e300];

interface Entry {
  dtype: string;
  data_offsets: [number, number];
}

/** One to three elements of tensors have another value: a special one, or any bits. */
export function editedValues(file: Uint8Array, random: Random): Uint8Array {
  const bytes = file.slice();
  const header = JSON.parse(headerText(file)) as Record<string, Entry>;
  const view = new DataView(bytes.buffer, 8 + headerLength(file));
  const entries = Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([, entry]) => entry)
    .filter(({ data_offsets: [start, end] }) => end > start);
  for (let count = entries.length === 0 ? 0 : 1 + below(random, 3); count > 0; count--) {
    const { dtype, data_offsets: offsets } = pick(random, entries);
    const size = { F64: 8, F32: 4, U8: 1 }[dtype]!;
    const at = offsets[0] + size * below(random, (offsets[1] - offsets[0]) / size);
    const value = pick(random, NUMBERS);
    if (random() < 0.5)
      for (let byte = 0; byte < size; byte++) view.setUint8(at + byte, below(random, 256));
    else if (dtype === "F64") view.setFloat64(at, value, true);
    else if (dtype === "F32") view.setFloat32(at, value, true);
    else view.setUint8(at, below(random, 256));
  }
  return bytes;
}
