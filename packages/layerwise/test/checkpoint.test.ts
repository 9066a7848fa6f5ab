/** Checkpoints: safetensors bytes, what is in them byte by byte, and what is refused. */
import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeCheckpoint, encodeCheckpoint } from "../src/checkpoint.js";
import type { CheckpointExtras } from "../src/checkpoint.js";
import { LARS } from "../src/index.js";
import type { Parameter, StateDict } from "../src/index.js";
import { runs } from "./helpers/arbitraries.js";
import { expectSameBits } from "./helpers/numbers.js";
import { expectSameState, parameterOf, randomParameters, runSteps } from "./helpers/problem.js";
import { randomArray } from "./helpers/random.js";

const options = {
  lr: 0.1,
  momentum: 0.9,
  optimBits: 8,
  min8bitSize: 256,
  percentileClipping: 50,
} as const;

/** Layers with 8-bit and with 32-bit momentum, and one that never had a gradient. */
function layers(): Parameter[] {
  return [
    ...randomParameters(),
    parameterOf(new Float32Array(6), { shape: [1, 2, 3], name: "émile 🎈" }),
  ];
}

function savedState(): StateDict {
  const params = layers();
  const optimizer = new LARS(params, options);
  runSteps(optimizer, params.slice(0, 3), 2);
  params[3]!.grad = null;
  return optimizer.stateDict();
}

const extras: CheckpointExtras = {
  tensors: {
    "layer a": { shape: [3, 100], data: randomArray(300, 1) },
    scalar: { shape: [], data: Float32Array.of(Math.PI) },
    empty: { shape: [0, 4], data: new Float32Array(0) },
  },
  metadata: { epoch: "3", note: 'quotes " and \\ and \u2028', "": "no name" },
};

interface HeaderEntry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

type Header = Record<string, HeaderEntry> & { __metadata__: Record<string, string> };

/** The parts of a file, taken apart without the library. */
function takenApart(bytes: Uint8Array): { length: number; header: Header; data: Uint8Array } {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const length = Number(view.getBigUint64(0, true));
  const text = new TextDecoder().decode(bytes.subarray(8, 8 + length));
  return { length, header: JSON.parse(text) as Header, data: bytes.subarray(8 + length) };
}

/** A file from its parts. */
function putTogether(header: unknown, data: Uint8Array, length?: bigint): Uint8Array {
  const text = new TextEncoder().encode(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const bytes = new Uint8Array(8 + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  bytes.set(text, 8);
  bytes.set(data, 8 + text.length);
  return bytes;
}

describe("a checkpoint", () => {
  it("gives back the state to the bit, and nothing else", () => {
    const state = savedState();
    const decoded = decodeCheckpoint(encodeCheckpoint(state));
    expectSameState(decoded, state);
    expect(Object.keys(decoded)).toEqual(["step", "layers"]);
  });

  it("gives back tensors and metadata that were kept beside the state", () => {
    const state = savedState();
    const decoded = decodeCheckpoint(encodeCheckpoint(state, extras));
    expectSameState(decoded, state);
    expect(decoded.metadata).toEqual(extras.metadata);
    expect(Object.keys(decoded.tensors!).sort()).toEqual(Object.keys(extras.tensors!).sort());
    for (const [name, { shape, data }] of Object.entries(extras.tensors!)) {
      expect(decoded.tensors![name]!.shape).toEqual(shape);
      expectSameBits(decoded.tensors![name]!.data, data, name);
    }
  });

  it("that was read can be written again, as state and extras in one", () => {
    const bytes = encodeCheckpoint(savedState(), extras);
    const decoded = decodeCheckpoint(bytes);
    expectSameState(decodeCheckpoint(encodeCheckpoint(decoded, decoded)), decoded);
    expect(decodeCheckpoint(encodeCheckpoint(decoded, decoded))).toEqual(decoded);
  });

  it("keeps values of every kind: -0, denormals, NaN, infinities", () => {
    const data = Float32Array.of(-0, 2 ** -149, NaN, Infinity, -Infinity, 3.4e38);
    const bytes = encodeCheckpoint(savedState(), { tensors: { odd: { shape: [6], data } } });
    expectSameBits(decodeCheckpoint(bytes).tensors!.odd!.data, data);
  });

  it("takes views as tensors, and reads bytes at any offset, also from a Buffer", () => {
    const state = savedState();
    const data = randomArray(100, 1);
    const tensors = { part: { shape: [50], data: data.subarray(25, 75) } };
    const bytes = encodeCheckpoint(state, { tensors });
    for (const offset of [0, 1, 2, 3, 4, 7]) {
      const moved = new Uint8Array(bytes.length + 8).subarray(offset, offset + bytes.length);
      moved.set(bytes);
      const decoded = decodeCheckpoint(moved);
      expectSameState(decoded, state);
      expectSameBits(decoded.tensors!.part!.data, data.slice(25, 75));
    }
    expectSameState(decodeCheckpoint(Buffer.from(bytes)), state);
  });

  it("gives copies: the bytes may be reused", () => {
    const state = savedState();
    const bytes = encodeCheckpoint(state);
    const decoded = decodeCheckpoint(bytes);
    bytes.fill(0);
    expectSameState(decoded, state);
  });

  it("of an optimizer without steps, and of one without momentum", () => {
    const params = layers();
    for (const momentum of [0, 0.9]) {
      const state = new LARS(params, { lr: 0.1, momentum }).stateDict();
      expectSameState(decodeCheckpoint(encodeCheckpoint(state)), state);
    }
  });

  it("is the same bytes for the same state", () => {
    const state = savedState();
    const bytes = encodeCheckpoint(state, extras);
    expectSameBits(encodeCheckpoint(structuredClone(state), extras), bytes);
    expectSameBits(
      encodeCheckpoint(decodeCheckpoint(encodeCheckpoint(state))),
      encodeCheckpoint(state),
    );
  });
});

describe("the bytes of a checkpoint", () => {
  const state = savedState();
  const bytes = encodeCheckpoint(state, extras);
  const { length, header, data } = takenApart(bytes);
  const { __metadata__: metadata, ...tensors } = header;

  it("begin with the header's length, little-endian; the header is JSON, padded with spaces to 8", () => {
    const text = new TextDecoder().decode(bytes.subarray(8, 8 + length));
    expect(length % 8).toBe(0);
    expect(text).toMatch(/^\{.*\} *$/s);
    expect(bytes.length).toBe(8 + length + data.length);
  });

  it("say what they are: format, version, and the state as JSON", () => {
    expect(metadata).toMatchObject({ format: "layerwise.checkpoint", version: "1" });
    expect(metadata).toMatchObject(extras.metadata!);
    for (const value of Object.values(metadata)) expect(typeof value).toBe("string");
    expect(JSON.parse(metadata.state!)).toMatchObject({
      step: 2,
      layers: [
        { name: "layer a", shape: [300], step: 2, momentum: "blockwise" },
        { name: "layer b", shape: [7], step: 2, momentum: "float32" },
        { name: "layer c", shape: [513], step: 2, momentum: "blockwise" },
        { name: "émile 🎈", shape: [1, 2, 3], step: 0, momentum: null },
      ],
    });
  });

  it("have the tensors one after the other, without gaps, each aligned to its element", () => {
    const sizes: Record<string, number> = { F64: 8, F32: 4, U8: 1 };
    const entries = Object.values(tensors).sort(
      (a, b) => a.data_offsets[0] - b.data_offsets[0] || a.data_offsets[1] - b.data_offsets[1],
    );
    let end = 0;
    for (const { dtype, shape, data_offsets: offsets } of entries) {
      expect(offsets[0]).toBe(end);
      expect((8 + length + offsets[0]) % sizes[dtype]!).toBe(0);
      end = offsets[1];
      const elements = shape.reduce((product, size) => product * size, 1);
      expect(end - offsets[0]).toBe(elements * sizes[dtype]!);
    }
    expect(end).toBe(data.length);
  });

  it("name the tensors of layer i optimizer/i/…", () => {
    expect(
      Object.fromEntries(
        Object.entries(tensors).map(([name, { dtype, shape }]) => [name, [dtype, shape]]),
      ),
    ).toEqual({
      "optimizer/0/codes": ["U8", [300]],
      "optimizer/0/absmax": ["F32", [2]],
      "optimizer/0/gradientHistory": ["F64", [100]],
      "optimizer/1/momentum": ["F32", [7]],
      "optimizer/1/gradientHistory": ["F64", [100]],
      "optimizer/2/codes": ["U8", [513]],
      "optimizer/2/absmax": ["F32", [3]],
      "optimizer/2/gradientHistory": ["F64", [100]],
      "layer a": ["F32", [3, 100]],
      scalar: ["F32", []],
      empty: ["F32", [0, 4]],
    });
  });
});

/** A reader of safetensors that knows nothing of this library: the format's description, in Python. */
const READER = `
import json, struct, sys
data = sys.stdin.buffer.read()
(length,) = struct.unpack_from("<Q", data)
header = json.loads(data[8:8 + length].decode("utf-8"))
body = data[8 + length:]
codes = {"F64": "d", "F32": "f", "U8": "B"}
tensors = {}
for name, entry in header.items():
    if name == "__metadata__":
        continue
    begin, end = entry["data_offsets"]
    part = body[begin:end]
    code = codes[entry["dtype"]]
    values = struct.unpack("<%d%s" % (len(part) // struct.calcsize(code), code), part)
    tensors[name] = {"shape": entry["shape"], "values": list(values)}
print(json.dumps({"metadata": header["__metadata__"], "tensors": tensors}))
`;

const python = spawnSync("python3", ["--version"]).status === 0;
if (!python)
  console.warn("checkpoint.test.ts: no python3 here, its reader of checkpoints is SKIPPED");

describe("Python reads a checkpoint", () => {
  it.skipIf(!python)("with nothing but its standard library, to the bit", () => {
    const state = savedState();
    const { status, stdout, stderr } = spawnSync("python3", ["-c", READER], {
      input: encodeCheckpoint(state, extras),
      encoding: "utf8",
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const { metadata, tensors } = JSON.parse(stdout) as {
      metadata: Record<string, string>;
      tensors: Record<string, { shape: number[]; values: number[] }>;
    };
    expect(metadata).toMatchObject({ format: "layerwise.checkpoint", ...extras.metadata });
    const [first, second] = state.layers;
    if (first?.momentum?.kind !== "blockwise" || second?.momentum?.kind !== "float32") {
      expect.fail("the layers keep other momentum than was thought");
    }
    const { codes, absmax } = first.momentum;
    const expected = {
      "optimizer/0/codes": codes,
      "optimizer/0/absmax": absmax,
      "optimizer/0/gradientHistory": first.gradientHistory!,
      "optimizer/1/momentum": second.momentum.values,
      "layer a": extras.tensors!["layer a"]!.data,
      scalar: extras.tensors!.scalar!.data,
      empty: new Float32Array(0),
    };
    for (const [name, values] of Object.entries(expected)) {
      expect(tensors[name]!.values, name).toEqual([...values]);
    }
    expect(tensors["layer a"]!.shape).toEqual([3, 100]);
  });
});

describe("what is no checkpoint is refused", () => {
  const good = encodeCheckpoint(savedState(), extras);
  const { header, data } = takenApart(good);
  const codes = header["optimizer/0/codes"]!;

  /** The header with changes; undefined takes an entry out. */
  function changed(changes: Record<string, unknown>): Uint8Array {
    const entries = Object.entries({ ...header, ...changes });
    return putTogether(
      Object.fromEntries(entries.filter(([, value]) => value !== undefined)),
      data,
    );
  }

  function withMetadata(changes: Record<string, unknown>): Uint8Array {
    return changed({ __metadata__: { ...header.__metadata__, ...changes } });
  }

  function withState(edit: (state: { step: unknown; layers: Record<string, unknown>[] }) => void) {
    const state = JSON.parse(header.__metadata__.state!) as Parameters<typeof edit>[0];
    edit(state);
    return withMetadata({ state: JSON.stringify(state) });
  }

  function expectRefused(bytes: unknown, message: RegExp, type: unknown = RangeError): void {
    const decode = (): unknown => decodeCheckpoint(bytes as Uint8Array);
    expect(decode).toThrow(type);
    expect(decode).toThrow(message);
  }

  it("(put together again it is one)", () => {
    expect(decodeCheckpoint(putTogether(header, data)).step).toBe(2);
    expect(decodeCheckpoint(changed({})).step).toBe(2);
  });

  it("bytes of another type", () => {
    for (const bytes of [null, undefined, "text", [1, 2], new Float32Array(8), good.buffer]) {
      expectRefused(bytes, /Uint8Array/, TypeError);
    }
  });

  it("a file too short for a header's length", () => {
    for (const length of [0, 1, 7])
      expectRefused(good.slice(0, length), /file: expected at least 8 bytes, got/);
  });

  it("a header that ends beyond the file", () => {
    expectRefused(putTogether(header, new Uint8Array(0), BigInt(good.length)), /header/);
    expectRefused(good.slice(0, 100), /header: expected at most/);
    expectRefused(putTogether(header, data, 2n ** 63n), /header: expected at most/);
    expectRefused(putTogether(header, data, 2n ** 64n - 1n), /header: expected at most/);
  });

  it("a header of more than 16 MiB, even when it is there", () => {
    const bytes = new Uint8Array(2 ** 24 + 100).fill(0x20);
    new DataView(bytes.buffer).setBigUint64(0, 2n ** 24n + 1n, true);
    expectRefused(bytes, /header: expected at most 16777216 bytes, got 16777217/);
  });

  it.each(["", "hello", "\u0000", "null", "3", '"text"', "[]", " {}"])(
    "a header that does not begin with a brace: %o",
    (text) => {
      expectRefused(
        putTogether(text, new Uint8Array(0)),
        /header: expected a first byte "\{", got/,
      );
    },
  );

  it("a header with a byte-order mark, which a TextDecoder would pass over", () => {
    const text = `\ufeff${JSON.stringify(header)}`;
    expectRefused(putTogether(text, data), /header: expected a first byte "\{", got ef bb bf/);
  });

  it.each(["{", '{"a":1}}', '{"a', '{"a\\', '{"\\x":1}', "{'a':1}", '{"a":1,}'])(
    "a header that is no JSON: %o",
    (text) => {
      expectRefused(putTogether(text, new Uint8Array(0)), /header: expected JSON/);
    },
  );

  it("a header that is no UTF-8", () => {
    const bytes = putTogether('{"a":"xx"}', new Uint8Array(0));
    bytes.set([0xff, 0xfe], 8 + 6);
    expectRefused(bytes, /header: expected UTF-8/);
  });

  it.each([
    ["arrays", '{"a":' + "[".repeat(4e6) + "]".repeat(4e6) + "}"],
    ["objects", '{"a":'.repeat(1e6) + "0" + "}".repeat(1e6)],
    ["arrays that nobody closes", '{"a":' + "[".repeat(16e6)],
  ])("a header of nested %s, at once", (_, text) => {
    expectRefused(putTogether(text, new Uint8Array(0)), /header: expected at most 8 levels/);
    const state = "[".repeat(1e6);
    expectRefused(withMetadata({ state }), /checkpoint: state: expected at most 8 levels/);
  });

  it("a header of names and nothing else", () => {
    const names = Array.from({ length: 2 ** 18 + 1 }, (_, index) => `"${index}":{}`);
    expectRefused(
      putTogether(`{${names.join(",")}}`, new Uint8Array(0)),
      /header: expected at most 262144 names in an object/,
    );
  });

  it("a name that stands twice: in the header, a tensor's entry, the metadata, however it is spelt", () => {
    const text = JSON.stringify(header);
    for (const [once, twice, name] of [
      ['"scalar":', '"scalar":{"dtype":"F32"},"scalar":', "scalar"],
      ['"scalar":', '"\\u0073calar" : {},"scalar"\n:', "scalar"],
      ['"__metadata__":{', '"__metadata__":{},"__metadata__":{', "__metadata__"],
      ['"epoch":', '"epoch":"3","epoch":', "epoch"],
      ['"":', '"":"a","":', ""],
      ['"dtype":"F64"', '"dtype":"F64","dtype":"F64"', "dtype"],
    ] as const) {
      expect(text).toContain(once);
      const bytes = putTogether(text.replace(once, twice), data);
      expectRefused(bytes, new RegExp(`header: expected each name once, got "${name}" twice`));
    }
  });

  it("a name that stands twice in the state", () => {
    const state = header.__metadata__.state!;
    for (const [once, twice] of [
      ['{"step":2', '{"step":1,"step":2'],
      ['"layers":', '"layers":[],"layers":'],
      ['"name":"layer a"', '"name":"layer a","name":"layer b"'],
      ['"momentum":null', '"momentum":null,"momentum":null'],
    ] as const) {
      expect(state).toContain(once);
      expectRefused(
        withMetadata({ state: state.replace(once, twice) }),
        /checkpoint: state: expected each name once, got ".*" twice/,
      );
    }
  });

  it("equal names in different objects, and as values, are nothing of the kind", () => {
    const metadata = { a: "a", epoch: "epoch", scalar: '{"a":1,"a":2}', '"': '":"', "\\": "\\" };
    const bytes = withMetadata(metadata);
    expect(decodeCheckpoint(bytes).metadata).toMatchObject(metadata);
  });

  it("lone surrogates, in a tensor's name, a text, its name, a layer's name", () => {
    const text = JSON.stringify(header);
    for (const [good, lone] of [
      ['"scalar":', '"\\ud800":'],
      ['"epoch":', '"x\\udc00\\ud800":'],
      ['"epoch":"3"', '"epoch":"\\ud83c"'],
    ] as const) {
      expect(text).toContain(good);
      expectRefused(
        putTogether(text.replace(good, lone), data),
        /header: expected no lone surrogates, got "/,
      );
    }
    const state = header.__metadata__.state!.replace('"layer a"', '"\\ud83c"');
    expectRefused(withMetadata({ state }), /state: expected no lone surrogates, got "\\ud83c"/);
  });

  it("another format, version, or none", () => {
    expectRefused(putTogether({}, new Uint8Array(0)), /format: .*got undefined/);
    expectRefused(changed({ __metadata__: undefined }), /format: .*got undefined/);
    expectRefused(withMetadata({ format: "pt" }), /format: expected "layerwise.*, got "pt"/);
    expectRefused(withMetadata({ version: "2" }), /version: expected "1", got "2"/);
    expectRefused(withMetadata({ version: undefined }), /version: .*got undefined/);
  });

  it("metadata that is no object of texts", () => {
    expectRefused(changed({ __metadata__: [] }), /metadata/, TypeError);
    expectRefused(changed({ __metadata__: null }), /metadata/, TypeError);
    expectRefused(withMetadata({ epoch: 3 }), /metadata "epoch": expected a string, got 3/);
  });

  it("a tensor's entry that is no object, or has no list of sizes, no two offsets", () => {
    expectRefused(changed({ scalar: null }), /"scalar"/, TypeError);
    expectRefused(changed({ scalar: [] }), /"scalar"/, TypeError);
    for (const shape of [undefined, null, 3, "3", {}]) {
      expectRefused(changed({ scalar: { ...header.scalar, shape } }), /"scalar".*shape/, TypeError);
    }
    for (const shape of [[-1], [1.5], ["1"], [null], [[1]], [2 ** 53], [2 ** 30, 2 ** 30, 0]]) {
      expectRefused(changed({ scalar: { ...header.scalar, shape } }), /"scalar".*shape/);
    }
    for (const offsets of [undefined, null, 3, [0], [0, 1, 2], [-4, 0], [0.5, 4.5], ["0", "4"]]) {
      const entry = { ...header.scalar, data_offsets: offsets };
      expectRefused(changed({ scalar: entry }), /"scalar".*data_offsets/);
    }
  });

  it.each(["F16", "BF16", "I64", "f32", "", "toString", "__proto__", 32, null])(
    "dtype %o",
    (dtype) => {
      expectRefused(changed({ scalar: { ...header.scalar, dtype } }), /"scalar"/);
    },
  );

  it("a shape that does not fit the bytes", () => {
    expectRefused(
      changed({ scalar: { ...header.scalar, shape: [2] } }),
      /"scalar".*expected 8 bytes, got 4/,
    );
    expectRefused(changed({ scalar: { ...header.scalar, shape: [0] } }), /"scalar"/);
    expectRefused(
      changed({ scalar: { ...header.scalar, shape: [2 ** 30, 2 ** 30, 2 ** 30] } }),
      /"scalar"/,
    );
  });

  it("tensors that overlap", () => {
    const [begin, end] = codes.data_offsets;
    expectRefused(changed({ twin: { ...codes } }), /expected to start at/);
    const shifted = { ...codes, data_offsets: [begin - 1, end - 1] };
    expectRefused(changed({ "optimizer/0/codes": shifted }), /expected to start at/);
  });

  it("a gap between tensors", () => {
    expectRefused(changed({ "optimizer/1/momentum": undefined }), /expected to start at/);
  });

  it("offsets in the wrong order", () => {
    const [begin, end] = codes.data_offsets;
    const entry = { ...codes, data_offsets: [end, begin] };
    expectRefused(changed({ "optimizer/0/codes": entry }), /"optimizer\/0\/codes"/);
  });

  it("data that was cut, at every length", () => {
    for (let length = good.length - 1; length >= 0; length -= length > good.length - 40 ? 1 : 97) {
      expect(() => decodeCheckpoint(good.slice(0, length))).toThrow(RangeError);
    }
    expectRefused(
      good.slice(0, -1),
      /expected to end in the file, got 1 bytes beyond its end: the file is truncated/,
    );
  });

  it("bytes behind the last tensor", () => {
    const longer = new Uint8Array(good.length + 3);
    longer.set(good);
    expectRefused(longer, /no bytes after the last tensor, got 3/);
  });

  it("a state that is no JSON, or is missing", () => {
    expectRefused(withMetadata({ state: "{" }), /state: expected JSON/);
    expectRefused(withMetadata({ state: "\ufeff{}" }), /state: expected JSON/);
    expectRefused(withMetadata({ state: undefined }), /state: expected JSON/);
    expectRefused(withMetadata({ state: "null" }), /state/, TypeError);
    expectRefused(withMetadata({ state: "{}" }), /state: layers: expected an array/, TypeError);
  });

  it.each<[string, string, number, string]>([
    ["momentum NaN", "optimizer/1/momentum", NaN, 'layers[1] ("layer b").momentum.values[3]'],
    ["momentum ∞", "optimizer/1/momentum", -Infinity, 'layers[1] ("layer b").momentum.values[3]'],
    ["absmax NaN", "optimizer/2/absmax", NaN, 'layers[2] ("layer c").momentum.absmax[1]'],
    ["absmax ∞", "optimizer/2/absmax", Infinity, 'layers[2] ("layer c").momentum.absmax[1]'],
    ["absmax < 0", "optimizer/2/absmax", -1e-30, 'layers[2] ("layer c").momentum.absmax[1]'],
    ["history NaN", "optimizer/0/gradientHistory", NaN, 'layers[0] ("layer a").gradientHistory[9]'],
    ["history ∞", "optimizer/0/gradientHistory", Infinity, "gradientHistory[9]"],
    ["history < 0", "optimizer/0/gradientHistory", -1, "gradientHistory[9]"],
  ])("state that no run leaves behind: %s", (_, name, value, place) => {
    const bytes = good.slice();
    const index = Number(/\[(\d+)\]$/.exec(place)![1]);
    const { dtype, data_offsets: offsets } = header[name]!;
    const view = new DataView(bytes.buffer, bytes.length - data.length + offsets[0]);
    if (dtype === "F64") view.setFloat64(8 * index, value, true);
    else view.setFloat32(4 * index, value, true);
    let message = "";
    try {
      decodeCheckpoint(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(RangeError);
      message = (error as Error).message;
    }
    expect(message).toContain(place);
    expect(message).toContain(`got ${Math.fround(value)}`);
  });

  it.each([2 ** 53, 1e300, -1, 0.5])("a step count of %d", (step) => {
    const whole = withState((state) => {
      state.step = step;
    });
    expectRefused(whole, /state: step: expected a whole number from 0 to 9007199254740991/);
    const ofLayer = withState(({ layers: entries }) => {
      entries[1]!.step = step;
    });
    expectRefused(ofLayer, /layers\[1\] \("layer b"\)\.step: expected a whole number/);
  });

  it("a layer's tensor that is missing", () => {
    expectRefused(
      withState(({ layers: entries }) => {
        entries[3]!.momentum = "float32";
      }),
      /expected a tensor "optimizer\/3\/momentum", got none/,
    );
    expectRefused(
      withState(({ layers: entries }) => {
        entries[3]!.gradientHistory = true;
      }),
      /expected a tensor "optimizer\/3\/gradientHistory", got none/,
    );
  });

  it("a layer's tensor of another shape", () => {
    expectRefused(
      withState(({ layers: entries }) => {
        entries[1]!.shape = [8];
      }),
      /tensor "optimizer\/1\/momentum": shape: expected \[8\], got \[7\]/,
    );
    expectRefused(
      withState(({ layers: entries }) => {
        entries[0]!.shape = [3, 100];
      }),
      /tensor "optimizer\/0\/codes": shape: expected \[3, 100\], got \[300\]/,
    );
  });

  it("a layer's tensor of another dtype", () => {
    const absmax = header["optimizer/0/absmax"]!;
    const entry = { ...absmax, dtype: "U8", shape: [8] };
    expectRefused(changed({ "optimizer/0/absmax": entry }), /absmax/);
    const history = header["optimizer/0/gradientHistory"]!;
    const asFloats = { ...history, dtype: "U8", shape: [800] };
    expectRefused(changed({ "optimizer/0/gradientHistory": asFloats }), /gradientHistory/);
  });

  it("tensors that belong to no layer", () => {
    const { "optimizer/0/codes": entry, ...others } = header;
    const bytes = putTogether({ ...others, "optimizer/9/codes": entry }, data);
    expectRefused(bytes, /expected a tensor "optimizer\/0\/codes", got none/);
    expectRefused(
      withState(({ layers: entries }) => {
        entries.pop();
        entries[0]!.momentum = null;
      }),
      /"optimizer\/0\/(codes|absmax)": expected a float32 tensor or a layer's/,
    );
  });

  it("an extra tensor that is not float32", () => {
    const scalar = { ...header.scalar, dtype: "U8", shape: [4] };
    expectRefused(changed({ scalar }), /"scalar": expected a float32 tensor/);
  });

  it.each<[string, (entry: Record<string, unknown>) => unknown]>([
    ["a shape that is a number", (entry) => (entry.shape = 7)],
    ["a shape with a text", (entry) => (entry.shape = ["7"])],
    ["a nested shape", (entry) => (entry.shape = [[7]])],
    ["a shape beyond 2^53 elements", (entry) => (entry.shape = [2 ** 30, 2 ** 30])],
    ["a history that is no flag", (entry) => (entry.gradientHistory = "yes")],
    ["a negative step", (entry) => (entry.step = -1)],
    ["a name that is a number", (entry) => (entry.name = 1)],
    ["another kind of momentum", (entry) => (entry.momentum = "float16")],
    ["momentum that is an object", (entry) => (entry.momentum = {})],
    ["momentum named as a method", (entry) => (entry.momentum = "toString")],
  ])("a layer with %s", (_, edit) => {
    const bytes = withState(({ layers: entries }) => {
      edit(entries[1]!);
    });
    const decode = (): unknown => decodeCheckpoint(bytes);
    expect(decode).toThrow(/state|checkpoint/);
    expect(decode).toThrow(Error);
  });

  it("a layer that is no object, a step that is none", () => {
    const noObject = withState(({ layers: entries }) => {
      (entries as unknown[])[0] = 3;
    });
    expectRefused(noObject, /layer 0/, TypeError);
    const noStep = withState((state) => {
      state.step = "2";
    });
    expectRefused(noStep, /step/, TypeError);
  });
});

describe("names like those of every object's own properties", () => {
  const empty = new LARS([parameterOf([1])], { lr: 1 }).stateDict();

  it.each(["constructor", "toString", "hasOwnProperty", "proto", ""])(
    "%o can name a tensor and a text",
    (name) => {
      const given: CheckpointExtras = {
        tensors: { [name]: { shape: [1], data: Float32Array.of(7) } },
        metadata: { [name]: "text" },
      };
      const decoded = decodeCheckpoint(encodeCheckpoint(empty, given));
      expect(Object.entries(decoded.tensors!)).toEqual(Object.entries(given.tensors!));
      expect(Object.entries(decoded.metadata!)).toEqual([[name, "text"]]);
    },
  );

  it("__proto__ in a file is a name like any other, and changes no prototype", () => {
    const { header } = takenApart(encodeCheckpoint(empty));
    const text = JSON.stringify(header);
    const entry = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}';
    const bytes = putTogether(
      `${text.slice(0, -1)},"__proto__":${entry}}`.replace(
        '"format"',
        '"__proto__":"text","format"',
      ),
      new Uint8Array(Float32Array.of(7).buffer),
    );
    const { tensors, metadata } = decodeCheckpoint(bytes);
    expect(Object.getPrototypeOf(tensors)).toBe(Object.prototype);
    expect(Object.getPrototypeOf(metadata)).toBe(Object.prototype);
    expect(Object.keys(tensors!)).toEqual(["__proto__"]);
    expect(Object.keys(metadata!)).toEqual(["__proto__"]);
    expect(({} as Record<string, unknown>).dtype).toBeUndefined();
  });
});

describe("encodeCheckpoint refuses", () => {
  const state = savedState();
  const tensor = { shape: [1], data: Float32Array.of(1) };

  it.each(["optimizer/0/momentum", "optimizer/", "__metadata__", "__proto__"])(
    "a tensor named %o",
    (name) => {
      const tensors = Object.fromEntries([[name, tensor]]);
      expect(() => encodeCheckpoint(state, { tensors })).toThrow(RangeError);
      expect(() => encodeCheckpoint(state, { tensors })).toThrow(JSON.stringify(name));
    },
  );

  it.each(["format", "version", "state"])("a text named %o", (name) => {
    expect(() => encodeCheckpoint(state, { metadata: { [name]: "x" } })).toThrow(RangeError);
  });

  it("a tensor whose shape does not fit, or that is not float32: such a file could not be read", () => {
    const wrong = [
      { shape: [2], data: Float32Array.of(1) },
      { shape: [-1, -1], data: Float32Array.of(1) },
      { shape: [0.5, 2], data: Float32Array.of(1) },
      { shape: 1, data: Float32Array.of(1) },
      { shape: [1], data: Float64Array.of(1) },
      { shape: [1], data: [1] },
      { shape: [1] },
      null,
    ];
    for (const odd of wrong) {
      const tensors = { odd } as unknown as NonNullable<CheckpointExtras["tensors"]>;
      expect(() => encodeCheckpoint(state, { tensors })).toThrow(/"odd"/);
    }
  });

  it("a text that is none: such a file could not be read", () => {
    const metadata = { epoch: 3 } as unknown as Record<string, string>;
    expect(() => encodeCheckpoint(state, { metadata })).toThrow(/"epoch"/);
  });

  it("lone surrogates: other readers refuse such a file", () => {
    const lone = "x\ud800";
    for (const [given, shown] of [
      [{ tensors: { [lone]: tensor } }, '"x\\ud800"'],
      [{ metadata: { [lone]: "x" } }, '"x\\ud800"'],
      [{ metadata: { note: `${lone}y` } }, '"x\\ud800y"'],
    ] as const) {
      expect(() => encodeCheckpoint(state, given)).toThrow(RangeError);
      expect(() => encodeCheckpoint(state, given)).toThrow(`no lone surrogates, got ${shown}`);
    }
    const named = { ...state, layers: [{ ...state.layers[0]!, name: lone }] };
    expect(() => encodeCheckpoint(named)).toThrow(/layers\[0\]\.name: .*"x\\ud800"/);
  });

  it("more names than a header may have", () => {
    const names = Array.from({ length: 2 ** 18 + 1 }, (_, index) => [String(index), ""] as const);
    const metadata = Object.fromEntries(names);
    expect(() => encodeCheckpoint(state, { metadata })).toThrow(/at most 262144 names/);
  });

  it("a header of more than 16 MiB", () => {
    const metadata = { note: "x".repeat(2 ** 24) };
    expect(() => encodeCheckpoint(state, { metadata })).toThrow(RangeError);
    expect(() => encodeCheckpoint(state, { metadata })).toThrow(
      /header: expected at most 16777216/,
    );
    const less = { note: "x".repeat(2 ** 24 - 10_000) };
    expect(decodeCheckpoint(encodeCheckpoint(state, { metadata: less })).metadata).toEqual(less);
  });

  it.each<[string, unknown, RegExp]>([
    ["null", null, /extras: expected an object, got null/],
    ["a misspelt field, which would lose the weights", { tensor: {} }, /unknown name "tensor"/],
    ["tensors in a Map, of which nothing would be kept", { tensors: new Map() }, /got a Map/],
    ["tensors in a list", { tensors: [tensor] }, /tensors: expected an object, got an array of 1/],
    ["metadata that is a text", { metadata: "x" }, /metadata: expected an object, got "x"/],
    ["a sparse shape", { tensors: { w: { ...tensor, shape: new Array(1) } } }, /"w": shape/],
  ])("extras that are %s", (_, given, message) => {
    const encode = (): unknown => encodeCheckpoint(state, given as CheckpointExtras);
    expect(encode).toThrow(message);
  });

  it("a malformed state", () => {
    for (const wrong of [
      null,
      {},
      { step: 1 },
      { ...state, step: -1 },
      { ...state, layers: [1] },
    ]) {
      expect(() => encodeCheckpoint(wrong as unknown as StateDict)).toThrow(/state/);
    }
  });
});

describe("what encodeCheckpoint takes, decodeCheckpoint gives back", () => {
  const empty = new LARS([parameterOf([1])], { lr: 1 }).stateDict();
  // Of UTF-16 units: lone surrogates, byte-order marks, quotes, names of properties.
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 5 }),
    fc.array(fc.integer({ min: 0xd700, max: 0xe100 }), { maxLength: 3 }).map((units) => {
      return String.fromCharCode(...units);
    }),
    fc.constantFrom("__proto__", "toJSON", "optimizer/", "\ufeff", "\0", "format", '"', "\\"),
  );
  const shape = fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 3 });

  it("any texts, names and shapes: whole, or not at all", () => {
    let taken = 0;
    fc.assert(
      fc.property(
        fc.dictionary(text, text),
        fc.dictionary(text, shape),
        text,
        (texts, shapes, name) => {
          const tensors = Object.fromEntries(
            Object.entries(shapes).map(([key, sizes]) => [
              key,
              {
                shape: sizes,
                data: randomArray(
                  sizes.reduce((size, n) => size * n, 1),
                  1,
                ),
              },
            ]),
          );
          const state = { ...empty, layers: [{ ...empty.layers[0]!, name }] };
          let bytes: Uint8Array;
          try {
            bytes = encodeCheckpoint(state, { tensors, metadata: texts });
          } catch (error) {
            expect((error as Error).message).toMatch(/^(state|tensors|metadata|safetensors)\b/);
            return;
          }
          taken++;
          const decoded = decodeCheckpoint(bytes);
          expect(decoded.layers[0]!.name).toBe(name);
          expect(new Map(Object.entries(decoded.metadata ?? {}))).toEqual(
            new Map(Object.entries(texts)),
          );
          expect(new Map(Object.entries(decoded.tensors ?? {}))).toEqual(
            new Map(Object.entries(tensors)),
          );
        },
      ),
      runs(1000),
    );
    expect(taken).toBeGreaterThan(50);
    expect(taken).toBeLessThan(950);
  });
});

describe("random damage", () => {
  const bytes = encodeCheckpoint(savedState(), extras);

  /** Decodes and loads: a result, or a TypeError or RangeError; anything else fails the test. */
  function survives(damaged: Uint8Array): boolean {
    const params = layers();
    const optimizer = new LARS(params, options, { kernel: "reference" });
    try {
      optimizer.loadStateDict(decodeCheckpoint(damaged));
      return true;
    } catch (error) {
      if (error instanceof TypeError || error instanceof RangeError) return false;
      throw error;
    }
  }

  const flips = fc.array(
    fc.record({ at: fc.nat(bytes.length - 1), mask: fc.integer({ min: 1, max: 255 }) }),
    { minLength: 1, maxLength: 8 },
  );

  it("of any bytes decodes, or throws a TypeError or RangeError", () => {
    fc.assert(
      fc.property(flips, (all) => {
        const damaged = bytes.slice();
        for (const { at, mask } of all) damaged[at]! ^= mask;
        survives(damaged);
      }),
      runs(400),
    );
  });

  it("of bytes in the header decodes, or throws a TypeError or RangeError", () => {
    const { length } = takenApart(bytes);
    let intact = 0;
    fc.assert(
      fc.property(
        fc.nat(length + 7),
        fc.constantFrom(...'0 1 2 9 " [ ] { } , : . - e E t f n \\'.split(" "), " "),
        (at, character) => {
          const damaged = bytes.slice();
          damaged[at] = character.charCodeAt(0);
          if (survives(damaged)) intact++;
        },
      ),
      runs(1500),
    );
    // Damage to a name or a step is not seen; damage to the structure is.
    expect(intact).toBeLessThan(1200);
  });

  it("of data alone loads, or the element is named that is not finite, or negative", () => {
    const { length } = takenApart(bytes);
    fc.assert(
      fc.property(
        fc.integer({ min: 8 + length, max: bytes.length - 1 }),
        fc.integer({ min: 0, max: 255 }),
        (at, value) => {
          const damaged = bytes.slice();
          damaged[at] = value;
          if (!survives(damaged)) {
            expect(() => decodeCheckpoint(damaged)).toThrow(
              /^state: layers\[\d\] \(".*"\)\.[a-zA-Z.]+\[\d+\]: expected a finite number/,
            );
          }
        },
      ),
      runs(200),
    );
  });

  it("bytes that are nothing at all throw a RangeError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
        expect(() => decodeCheckpoint(noise)).toThrow();
        expect(survives(noise)).toBe(false);
      }),
      runs(200),
    );
  });
});
