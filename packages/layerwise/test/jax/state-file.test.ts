/** States as safetensors: whatever is written comes back to the bit, and nothing else is taken. */
import { jit, numpy as np, tree } from "@jax-js/jax";
import { beforeAll, describe, expect, it } from "vitest";
import { applyUpdates, decodeState, encodeState, lars, lars8bit, trace } from "../../src/jax.js";
import type { GradientTransformation, OptState } from "../../src/jax.js";
import { decodeSafetensors, encodeSafetensors } from "../../src/state/safetensors.js";
import type { Safetensors } from "../../src/state/safetensors.js";
import { gradientAt } from "../helpers/problem.js";
import {
  arrayOf,
  initialWeights,
  initWasm,
  jitted,
  leavesOf,
  SHAPES,
  SIZES,
  stepOf,
} from "./helpers.js";
import type { Arrays } from "./helpers.js";
import { transformations } from "./transformations.js";

beforeAll(initWasm);

const options = { lr: 0.05, momentum: 0.9, min8bitSize: 500 };

function parameters(): np.Array[] {
  return initialWeights().map((values, layer) => arrayOf(values, SHAPES[layer]));
}

function gradientsAt(step: number): np.Array[] {
  return SIZES.map((size, layer) => arrayOf(gradientAt(step, layer, size), SHAPES[layer]));
}

/** The bytes of all leaves: NaN and −0 are told apart too. */
function bytesOf(arrays: Arrays): number[][] {
  return leavesOf(arrays).map((each) => {
    const { buffer, byteOffset, byteLength } = each.ref.dataSync() as Float32Array;
    return [...new Uint8Array(buffer, byteOffset, byteLength)];
  });
}

/** Steps from a state on, under `jit`. */
function steps(
  transformation: GradientTransformation,
  { params, state, from, to }: { params: Arrays; state: OptState; from: number; to: number },
): { params: Arrays; state: OptState } {
  const step = jitted(stepOf(transformation));
  for (let index = from; index < to; index++) {
    [params, state] = step(gradientsAt(index), state, params);
  }
  step.dispose();
  return { params, state };
}

describe("a state, written and read", () => {
  const kept = transformations.filter(([, each]) => leavesOf(each.init(parameters())).length > 0);

  it.each(kept)("%s: all bits, and the steps that follow", async (_, transformation) => {
    const params = parameters();
    const start = { params, state: transformation.init(tree.ref(params)), from: 0, to: 3 };
    const saved = steps(transformation, start);
    const bytes = await encodeState(tree.ref(saved));
    const fresh = parameters();
    const like = { params: tree.ref(fresh), state: transformation.init(fresh) };
    const restored = decodeState(like, bytes);
    expect(tree.structure(restored).toString()).toBe(tree.structure(saved as Arrays).toString());
    expect(bytesOf(restored)).toEqual(bytesOf(saved as Arrays));
    const [expected, actual] = [saved, restored].map((each) =>
      steps(transformation, { ...each, from: 3, to: 5 }),
    );
    expect(bytesOf(actual as Arrays)).toEqual(bytesOf(expected as Arrays));
    tree.dispose([expected, actual] as Arrays);
  });

  it("goes on in the same trace", async () => {
    const optimizer = lars(options);
    let traces = 0;
    const step = jit((updates: Arrays, state: OptState, params: Arrays) => {
      traces++;
      const [made, next] = optimizer.update(updates, state as never, tree.ref(params));
      return [applyUpdates(params, made), next] as OptState;
    }) as unknown as (...given: Arrays[]) => [Arrays, OptState];
    const params = parameters();
    const [next, state] = step(gradientsAt(0), optimizer.init(tree.ref(params)), params);
    const bytes = await encodeState(state);
    const restored = decodeState(optimizer.init(tree.ref(next)), bytes);
    tree.dispose(step(gradientsAt(1), restored, next));
    expect(traces).toBe(1);
  });

  it("names tensors by the way to them, with the types of safetensors", async () => {
    const state = lars8bit(options).init({ w: arrayOf(new Float32Array(600)), b: arrayOf([1]) });
    const { tensors, metadata } = decodeSafetensors(await encodeState(state));
    const described = [...tensors].map(([name, { data, shape }]) => [
      name,
      data.constructor.name,
      shape,
    ]);
    expect(Object.fromEntries(described.map(([name, ...rest]) => [name, rest]))).toEqual({
      count: ["Int32Array", []],
      skipped: ["Int32Array", []],
      "layers/w/momentum/codes": ["Uint32Array", [3, 64]],
      "layers/w/momentum/absmax": ["Float32Array", [3]],
      "layers/b/momentum": ["Float32Array", [1]],
    });
    expect(metadata).toEqual({ format: "layerwise.jax", version: "1" });
  });
});

describe("refusals, by name", () => {
  const params = (): Arrays => ({ w: arrayOf(new Float32Array(600)), b: arrayOf([1]) });

  async function written(transformation: GradientTransformation): Promise<Uint8Array> {
    return encodeState(transformation.init(params()));
  }

  /** A state of lars8bit, with a change in its file. */
  async function changed(
    change: (file: Safetensors & { tensors: Map<string, unknown> }) => void,
  ): Promise<Uint8Array> {
    const { tensors, metadata } = decodeSafetensors(await written(lars8bit(options)));
    const file = { tensors: new Map(tensors), metadata: { ...metadata } };
    change(file);
    return encodeSafetensors(file);
  }

  function expectRefused(bytes: Uint8Array, parts: readonly string[]): void {
    const like = lars8bit(options).init(params());
    let message = "";
    try {
      decodeState(like, bytes);
    } catch (error) {
      message = (error as Error).message;
    }
    for (const part of parts) expect(message).toContain(part);
    expect(leavesOf(like).every(({ refCount }) => refCount === 0)).toBe(true);
  }

  it("32 bits where 8 are kept", async () => {
    expectRefused(await written(lars(options)), [
      '"layers/w/momentum/codes"',
      "uint32 [3, 64]",
      "none",
    ]);
  });

  it("a state with more than is asked for", async () => {
    const bytes = await written(lars8bit({ ...options, percentileClipping: 40 }));
    expectRefused(bytes, ['"layers/w/gradientNorms"', "expected no tensor"]);
  });

  it("the state of another transformation", async () => {
    expectRefused(await written(trace({ momentum: 0.9 })), ['"count"', "none"]);
  });

  it("a tensor of another shape", async () => {
    const bytes = await changed(({ tensors }) =>
      tensors.set("layers/b/momentum", { shape: [2], data: new Float32Array(2) }),
    );
    expectRefused(bytes, ['"layers/b/momentum"', "float32 [1]", "float32 [2]"]);
  });

  it("a tensor of another type", async () => {
    const bytes = await changed(({ tensors }) =>
      tensors.set("count", { shape: [], data: new Float32Array(1) }),
    );
    expectRefused(bytes, ['"count"', "int32 []", "float32 []"]);
  });

  it.each([NaN, Infinity, -1])("absmax %s", async (value) => {
    const bytes = await changed(({ tensors }) =>
      tensors.set("layers/w/momentum/absmax", {
        shape: [3],
        data: Float32Array.of(0, value, 0),
      }),
    );
    expectRefused(bytes, ['"layers/w/momentum/absmax"', String(value)]);
  });

  it("NaN in the momentum, when it is read and when it is written", async () => {
    const bytes = await changed(({ tensors }) =>
      tensors.set("layers/b/momentum", { shape: [1], data: Float32Array.of(NaN) }),
    );
    expectRefused(bytes, ['"layers/b/momentum"', "NaN"]);
    await expect(encodeState({ m: arrayOf([1, -Infinity]) })).rejects.toThrow(
      /"m".*-Infinity at 1/,
    );
  });

  it("another format, another version and no safetensors", async () => {
    for (const [key, value] of [
      ["format", "layerwise.checkpoint"],
      ["version", "2"],
    ] as const) {
      const bytes = await changed((file) => {
        Object.assign(file.metadata, { [key]: value });
      });
      expectRefused(bytes, ["layerwise.jax", value]);
    }
    expectRefused(new Uint8Array(4), ["safetensors"]);
  });

  it("two leaves of one name, and types that states don't have", async () => {
    await expect(encodeState({ "a/b": arrayOf([1]), a: { b: arrayOf([2]) } })).rejects.toThrow(
      /"a\/b" twice/,
    );
    const flags = np.array([1, 2]).greater(1);
    await expect(encodeState({ flags })).rejects.toThrow(/"flags".*bool/);
  });
});
