import { describe, expect, it } from "vitest";
import { Parameter } from "../src/index.js";

describe("a parameter on an array from outside", () => {
  const detached = new Float32Array(2);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });

  it("is that array, not a copy, with a name and a shape", () => {
    const data = new Float32Array(6);
    const parameter = new Parameter(data, { name: "w", shape: [2, 3] });
    expect(parameter.data).toBe(data);
    expect(parameter).toMatchObject({ name: "w", shape: [2, 3], size: 6, grad: null });
  });

  it("has one dimension and no name unless told otherwise", () => {
    expect(new Parameter(new Float32Array(6))).toMatchObject({ shape: [6], name: undefined });
  });

  it("keeps its own copy of the shape", () => {
    const shape = [2, 3];
    const parameter = new Parameter(new Float32Array(6), { shape });
    shape[0] = 9;
    expect(parameter.shape).toEqual([2, 3]);
    expect(() => (parameter.shape as number[]).push(1)).toThrow(TypeError);
  });

  it("may be a scalar, of shape []", () => {
    expect(new Parameter(new Float32Array(1), { shape: [] }).shape).toEqual([]);
  });

  it.each([
    ["a Float64Array", new Float64Array(2)],
    ["a list", [1, 2]],
    ["nothing", undefined],
    ["a number", 3],
    ["a detached array", detached],
  ])("%s is refused", (_, data) => {
    const make = (): Parameter => new Parameter(data as never, { name: "w" });
    expect(make).toThrow(TypeError);
    expect(make).toThrow(/parameter "w": data: expected a Float32Array, got /);
  });

  it("a shape of another size is refused", () => {
    const make = (): Parameter => new Parameter(new Float32Array(5), { shape: [2, 3], name: "w" });
    expect(make).toThrow(RangeError);
    expect(make).toThrow(/parameter "w": shape \[2, 3\]: expected 6 elements in data, got 5/);
  });

  it("no elements are refused", () => {
    expect(() => new Parameter(new Float32Array(0))).toThrow(RangeError);
  });

  it.each([[[0, 3]], [[-1, -5]], [[2.5, 2]], [[NaN]]])("shape %j is refused", (shape) => {
    const make = (): Parameter => new Parameter(new Float32Array(5), { shape });
    expect(make).toThrow(RangeError);
    expect(make).toThrow(/whole sizes ≥ 1/);
  });

  it("a name that is no text is refused", () => {
    const make = (): Parameter => new Parameter(new Float32Array(1), { name: 7 as never });
    expect(make).toThrow(TypeError);
    expect(make).toThrow(/name: expected a string, got 7/);
  });

  it.each<[unknown, string]>([
    ["w", 'got "w"'],
    [null, "got null"],
    [[2, 3], "got an array of 2"],
    [() => "w", "got a function"],
  ])("options that are none are refused: %o", (options, got) => {
    const make = (): Parameter => new Parameter(new Float32Array(6), options as never);
    expect(make).toThrow(TypeError);
    expect(make).toThrow(`parameter options: expected an object, ${got}`);
  });

  it.each(["nmae", "Name", "size", "grad"])("the misspelt option %s is refused", (option) => {
    const options = { [option]: "w" } as never;
    const message = `unknown name "${option}"; expected one of name`;
    expect(() => new Parameter(new Float32Array(6), options)).toThrow(TypeError);
    expect(() => new Parameter(new Float32Array(6), options)).toThrow(message);
    expect(() => Parameter.allocate([6], options)).toThrow(TypeError);
    expect(() => Parameter.allocate([6], options)).toThrow(message);
  });

  it("a name with a lone surrogate, which no checkpoint can keep, is refused", () => {
    const make = (): Parameter => new Parameter(new Float32Array(1), { name: "w\ud800" });
    expect(make).toThrow(TypeError);
    expect(make).toThrow(/name: expected a string without lone surrogates, got "w\\ud800"/);
    expect(new Parameter(new Float32Array(1), { name: "🎈" }).name).toBe("🎈");
  });

  it.each<[unknown, string]>([
    [6, "got 6"],
    ["6", 'got "6"'],
    [null, "got null"],
    [Int32Array.of(2, 3), "got an Int32Array"],
    [{ length: 1, 0: 6 }, "got an object"],
  ])("a shape that is no array is refused: %o", (shape, got) => {
    const message = new RegExp(`^parameter "w": shape: expected an array of sizes, ${got}`);
    const make = (): Parameter =>
      new Parameter(new Float32Array(6), { name: "w", shape: shape as never });
    expect(make).toThrow(TypeError);
    expect(make).toThrow(message);
    expect(() => Parameter.allocate(shape as never, { name: "w" })).toThrow(TypeError);
    expect(() => Parameter.allocate(shape as never, { name: "w" })).toThrow(message);
  });

  it.each<[unknown[], string]>([
    [new Array(2), "[undefined, undefined]"],
    [Object.assign(new Array(2), [6]), "[6, undefined]"],
    [["2", "3"], '["2", "3"]'],
    [[[2, 3]], "[an array of 2]"],
    [[6n], "[6]"],
    [[2 ** 53, 2 ** 53], "[9007199254740992, 9007199254740992]"],
    [new Array(100).fill(2), "[2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, …]"],
  ])("a shape of anything but sizes is refused: %o", (shape, got) => {
    const message = `shape: expected whole sizes ≥ 1 with at most 2^30 elements together, got ${got}`;
    const make = (): Parameter => new Parameter(new Float32Array(6), { shape: shape as number[] });
    expect(make).toThrow(RangeError);
    expect(make).toThrow(message);
    expect(() => Parameter.allocate(shape as number[])).toThrow(message);
  });

  it("dispose leaves the arrays alone", () => {
    const data = Float32Array.of(1, 2);
    const parameter = new Parameter(data);
    parameter.dispose();
    expect([...data]).toEqual([1, 2]);
  });
});

describe("Parameter.allocate", () => {
  it("makes weights and gradient of zeros", () => {
    const parameter = Parameter.allocate([3, 4], { name: "w" });
    expect(parameter).toMatchObject({ name: "w", shape: [3, 4], size: 12 });
    expect(parameter.data).toEqual(new Float32Array(12));
    expect(parameter.grad).toEqual(new Float32Array(12));
    parameter.dispose();
  });

  it.each([[null], [10], ["w"], [[2]]])("options that are none are refused: %o", (options) => {
    const make = (): Parameter => Parameter.allocate([2], options as never);
    expect(make).toThrow(TypeError);
    expect(make).toThrow(/Parameter\.allocate: options: expected an object, got /);
  });

  it("makes a single element for []", () => {
    const parameter = Parameter.allocate([]);
    expect(parameter.data.length).toBe(1);
    parameter.dispose();
  });

  it("gives arrays that stay valid while the memory grows", () => {
    const first = Parameter.allocate([1000]);
    first.data.fill(7);
    const others = Array.from({ length: 40 }, () => Parameter.allocate([200_000]));
    expect(first.data.length).toBe(1000);
    expect(first.data.every((value) => value === 7)).toBe(true);
    others.forEach((other, index) => other.data.fill(index));
    expect(others.every(({ data }, index) => data.every((value) => value === index))).toBe(true);
    expect(first.data.every((value) => value === 7)).toBe(true);
    for (const parameter of [first, ...others]) parameter.dispose();
  });

  it.each([[[0]], [[-1]], [[1.5]], [[NaN]], [[2 ** 30 + 1]], [[2 ** 20, 2 ** 11]]])(
    "shape %j is refused, before anything is allocated",
    (shape) => {
      const make = (): Parameter => Parameter.allocate(shape, { name: "w" });
      expect(make).toThrow(RangeError);
      expect(make).toThrow(/parameter "w": shape: .*at most 2\^30 elements/);
    },
  );

  it("memory given back is used again", () => {
    const buffers = new Set<ArrayBufferLike>();
    const offsets = new Set<number>();
    for (let round = 0; round < 20; round++) {
      const parameter = Parameter.allocate([10_000]);
      buffers.add(parameter.data.buffer);
      offsets.add(parameter.data.byteOffset);
      parameter.dispose();
    }
    expect([buffers.size, offsets.size]).toEqual([1, 1]);
  });
});
