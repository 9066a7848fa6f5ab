/** State that is saved, loaded and given to variables, on the backends that run in Node. */
import * as tf from "@tensorflow/tfjs";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { use } from "./node-backends.js";
import { classes } from "./scenarios.js";

type Optimizer = InstanceType<typeof classes.LARS>;

const OPTIONS = { lr: 0.1, momentum: 0.9, percentileClipping: 50, min8bitSize: 100 };
/** All in a shape of their own, but two. */
const SHAPES = {
  "base/kernel": [12, 10],
  "base/bias": [10],
  "mid/kernel": [10, 10],
  "head/kernel": [10, 10],
};
type Layer = keyof typeof SHAPES;
const LAYERS = Object.keys(SHAPES) as Layer[];

let warnings: string[] = [];
let variables: tf.Variable[] = [];
let optimizers: Optimizer[] = [];

beforeEach(() => {
  vi.spyOn(console, "warn").mockImplementation((text: unknown) => {
    if (String(text).includes("layerwise")) warnings.push(String(text));
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  tf.dispose(variables);
  for (const optimizer of optimizers) optimizer.dispose();
  [warnings, variables, optimizers] = [[], [], []];
});

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

function make(name: string, shape: readonly number[]): tf.Variable {
  const values = Float32Array.from({ length: sizeOf(shape) }, (_, i) => 1 + Math.sin(i));
  const variable = tf.tidy(() => tf.variable(tf.tensor(values, [...shape]), true, name));
  variables.push(variable);
  return variable;
}

function created(className: "LARS" | "LARS8bit" = "LARS"): Optimizer {
  const optimizer = new classes[className](OPTIONS);
  optimizers.push(optimizer);
  return optimizer;
}

/** A model of {@link SHAPES}, under names with a suffix as TensorFlow.js gives them. */
function makeModel(suffix: string): Record<Layer, tf.Variable> {
  const entries = LAYERS.map((layer) => [layer, make(`${layer}${suffix}`, SHAPES[layer])] as const);
  return Object.fromEntries(entries) as Record<Layer, tf.Variable>;
}

/** One step, in the order given, with gradients that differ from layer to layer and from step to step. */
function step(
  optimizer: Optimizer,
  list: readonly (readonly [tf.Variable, seed: number])[],
  time: number,
): void {
  tf.tidy(() => {
    optimizer.applyGradients(
      list.map(([variable, seed]) => ({
        name: variable.name,
        tensor: tf.tensor(
          Float32Array.from({ length: variable.size }, (_, i) => Math.cos(i * seed + time)),
          variable.shape,
        ),
      })),
    );
  });
}

const stepOn = (
  optimizer: Optimizer,
  model: Record<Layer, tf.Variable>,
  layers: readonly Layer[],
  time: number,
): void => {
  step(
    optimizer,
    layers.map((layer) => [model[layer], 1 + LAYERS.indexOf(layer)]),
    time,
  );
};

/** What an optimizer saves, by name. */
async function savedBy(optimizer: Optimizer): Promise<Map<string, number[]>> {
  const weights = await optimizer.getWeights();
  const values = await Promise.all(weights.map(({ tensor }) => tensor.data()));
  expect(new Set(weights.map(({ name }) => name)).size).toBe(weights.length);
  return new Map(weights.map(({ name }, index) => [name, [...values[index]!]]));
}

/** Through the bytes of a file, as models are saved. */
async function reloaded(from: Optimizer, to: Optimizer): Promise<void> {
  const { data, specs } = await tf.io.encodeWeights(await from.getWeights());
  const tensors = tf.io.decodeWeights(data, specs);
  const list = specs.map(({ name }) => ({ name, tensor: tensors[name]! }));
  await to.setWeights(list);
  tf.dispose(tensors);
}

const of = (saved: Map<string, number[]>, layer: string): [string, number[]][] =>
  [...saved].filter(([name]) => name.startsWith(`${layer}/`));

async function expectSame(
  some: Record<Layer, tf.Variable>,
  others: Record<Layer, tf.Variable>,
): Promise<void> {
  for (const layer of LAYERS) {
    expect([...(await some[layer].data())], layer).toEqual([...(await others[layer].data())]);
  }
}

describe.each(["cpu", "wasm", "plain"])("backend %s", (backend) => {
  beforeAll(() => use(backend));

  it.each(["LARS", "LARS8bit"] as const)(
    "%s: what is loaded and has made no step is saved again as it was, once",
    async (className) => {
      const model = makeModel("");
      const trained = created(className);
      stepOn(trained, model, LAYERS, 0);
      stepOn(trained, model, LAYERS, 1);
      const before = await savedBy(trained);

      const tuned = created(className);
      await reloaded(trained, tuned);
      expect(await savedBy(tuned)).toEqual(before);
      stepOn(tuned, model, ["head/kernel", "mid/kernel"], 2);
      stepOn(tuned, model, ["head/kernel"], 3);
      const after = await savedBy(tuned);
      expect([...after.keys()]).toEqual([...before.keys()]);
      for (const layer of ["base/kernel", "base/bias"]) {
        expect(of(after, layer)).toEqual(of(before, layer));
      }
      expect(after.get("mid/kernel/lars_step")).toEqual([3]);
      expect(after.get("head/kernel/lars_step")).toEqual([4]);
      expect(after.get("iter")).toEqual([4]);

      // The frozen layers have their state when they are thawed, after another way through a file.
      const thawed = created(className);
      await reloaded(tuned, thawed);
      const all = created(className);
      const copy = makeModel("_9");
      for (const layer of LAYERS) copy[layer].assign(model[layer]);
      await reloaded(tuned, all);
      stepOn(thawed, model, [...LAYERS].reverse(), 4);
      stepOn(all, copy, LAYERS, 4);
      await expectSame(model, copy);
    },
  );

  it("saves the shapes of variables, of layers that have made no step too", async () => {
    const model = makeModel("");
    const trained = created();
    stepOn(trained, model, LAYERS, 0);
    const tuned = created();
    await reloaded(trained, tuned);
    stepOn(tuned, model, ["mid/kernel"], 1);
    const shapes = (await tuned.getWeights())
      .filter(({ name }) => name.endsWith("lars_momentum"))
      .map(({ name, tensor }) => [name.replace(/\/lars_momentum$/, ""), tensor.shape]);
    expect(Object.fromEntries(shapes)).toEqual(SHAPES);
  });

  it.each(["LARS", "LARS8bit"] as const)(
    "%s: a model loaded in the same page takes its state by name, whatever steps first",
    async (className) => {
      const model = makeModel("");
      const trained = created(className);
      stepOn(trained, model, LAYERS, 0);
      stepOn(trained, model, LAYERS, 1);
      const again = makeModel("_1");
      for (const layer of LAYERS) again[layer].assign(model[layer]);
      const loaded = created(className);
      await reloaded(trained, loaded);
      stepOn(trained, model, LAYERS, 2);
      stepOn(loaded, again, ["head/kernel", "mid/kernel", "base/bias", "base/kernel"], 2);
      await expectSame(model, again);
      expect(warnings).toEqual([]);
      stepOn(trained, model, LAYERS, 3);
      stepOn(loaded, again, LAYERS, 3);
      await expectSame(model, again);
      // Saved under the new names, in the old order.
      expect([...(await savedBy(loaded)).keys()]).toEqual(
        [...(await savedBy(trained)).keys()].map((name) => name.replace(/\/lars/, "_1/lars")),
      );
    },
  );

  it("variables that join later find their state under their new names", async () => {
    const model = makeModel("");
    const trained = created();
    stepOn(trained, model, LAYERS, 0);
    const again = makeModel("_2");
    const loaded = created();
    await reloaded(trained, loaded);
    for (const layer of [...LAYERS].reverse()) stepOn(loaded, again, [layer], 1);
    const counts = [...(await savedBy(loaded))].filter(([name]) => name.endsWith("lars_step"));
    expect(counts.map(([, value]) => value)).toEqual([[2], [2], [2], [2]]);
  });

  it("goes by position where no name is known and all shapes agree", async () => {
    const trained = created();
    const old = [make("u", [5, 4]), make("v", [5, 4])];
    step(
      trained,
      [
        [old[0]!, 1],
        [old[1]!, 2],
      ],
      0,
    );
    const loaded = created();
    await reloaded(trained, loaded);
    const renamed = [make("first", [5, 4]), make("second", [5, 4])];
    renamed.forEach((variable, index) => {
      variable.assign(old[index]!);
    });
    step(
      trained,
      [
        [old[0]!, 1],
        [old[1]!, 2],
      ],
      1,
    );
    step(
      loaded,
      [
        [renamed[0]!, 1],
        [renamed[1]!, 2],
      ],
      1,
    );
    for (const index of [0, 1]) {
      expect([...(await renamed[index]!.data())]).toEqual([...(await old[index]!.data())]);
    }
    expect(warnings).toEqual([]);
  });

  it.each([
    [
      "other shapes",
      [
        ["first", [4, 5]],
        ["second", [5, 4]],
      ],
    ],
    [
      "a name that is known",
      [
        ["u", [5, 4]],
        ["second", [5, 4]],
      ],
    ],
    ["another number of variables", [["first", [5, 4]]]],
    [
      "a known name of another shape",
      [
        ["u", [3]],
        ["second", [5, 4]],
      ],
    ],
  ] as [string, [string, number[]][]][])(
    "does not go by position with %s: what is not placed is kept, and said once",
    async (_, list) => {
      const trained = created();
      const old = [make("u", [5, 4]), make("v", [5, 4])];
      step(
        trained,
        [
          [old[0]!, 1],
          [old[1]!, 2],
        ],
        0,
      );
      const before = await savedBy(trained);
      const loaded = created();
      await reloaded(trained, loaded);
      tf.dispose(old);
      const fresh = list.map(([name, shape]) => make(name, shape));
      const steps = fresh.map((variable, index) => [variable, index + 1] as const);
      step(loaded, steps, 1);
      step(loaded, steps, 2);
      const after = await savedBy(loaded);
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toContain('"v"');
      const isKnown = list.some(([name, shape]) => name === "u" && shape.length === 2);
      expect(warnings[0]!.includes('"u"')).toBe(!isKnown);
      expect(of(after, "v")).toEqual(of(before, "v"));
      for (const { name } of fresh) {
        expect(after.get(`${name}/lars_step`)).toEqual([isKnown && name === "u" ? 3 : 2]);
      }
      // The old state of a name that another variable has now is kept under a name of its own.
      const momenta = [...after].filter(([name]) => name.endsWith("lars_momentum"));
      expect(momenta).toHaveLength(isKnown ? 3 : 2 + fresh.length);
      if (isKnown) return;
      const wanted = JSON.stringify(before.get("u/lars_momentum"));
      expect(momenta.filter(([, values]) => JSON.stringify(values) === wanted)).toHaveLength(1);

      const third = created();
      await reloaded(loaded, third);
      expect((await savedBy(third)).size).toBe(after.size);
    },
  );

  it("does not take automatic names, which are numbers, for names", async () => {
    const trained = created();
    const named = (name: number): tf.Variable => make(String(name), [5, 4]);
    const old = [named(1001), named(1002)];
    step(
      trained,
      [
        [old[0]!, 1],
        [old[1]!, 2],
      ],
      0,
    );
    const before = await savedBy(trained);
    const loaded = created();
    await reloaded(trained, loaded);
    tf.dispose(old);
    const shifted = [named(1002), named(1003)];
    step(
      loaded,
      [
        [shifted[0]!, 3],
        [shifted[1]!, 3],
      ],
      1,
    );
    const after = await savedBy(loaded);
    for (const [index, { name }] of shifted.entries()) {
      const [was, is] = [
        before.get(`${old[index]!.name}/lars_momentum`)!,
        after.get(`${name}/lars_momentum`)!,
      ];
      const added = is.map((x, i) => x - 0.9 * was[i]!);
      const gradient = was.map((_, i) => Math.cos(3 * i + 1));
      // In proportion: what was added is the clipped gradient, the same for both.
      const factor = added[0]! / gradient[0]!;
      added.forEach((x, i) => {
        expect(Math.abs(x - factor * gradient[i]!)).toBeLessThan(1e-5);
      });
    }
  });

  it("refuses state that can't be right when it is loaded, and keeps what it has", async () => {
    const model = makeModel("");
    const optimizer = created("LARS8bit");
    stepOn(optimizer, model, LAYERS, 0);
    const before = await savedBy(optimizer);
    const weights = (await optimizer.getWeights()).map(({ name, tensor }) => ({ name, tensor }));
    const change = (part: string, tensor: tf.Tensor): typeof weights =>
      weights.map((entry) => (entry.name.endsWith(part) ? { name: entry.name, tensor } : entry));
    const short = tf.tensor1d([1, 2, 3], "int32");
    const floats = tf.tensor1d([1, 2, 3]);
    for (const [part, tensor] of [
      ...([
        ["lars_codes", short],
        ["lars_absmax", floats],
        ["lars_momentum", short],
      ] as const),
      ...([
        ["lars_history", short],
        ["lars_step", floats],
        ["lars_shape", short],
      ] as const),
    ]) {
      await expect(optimizer.setWeights(change(part, tensor)), part).rejects.toThrow(/"|state/);
    }
    const without = (part: string) => weights.filter(({ name }) => !name.endsWith(part));
    for (const part of ["lars_step", "lars_codes", "lars_absmax"]) {
      await expect(optimizer.setWeights(without(part)), part).rejects.toThrow(part);
    }
    await expect(
      optimizer.setWeights([...weights, { name: "x/velocity", tensor: floats }]),
    ).rejects.toThrow('"x/velocity"');
    expect(await savedBy(optimizer)).toEqual(before);
    tf.dispose([short, floats]);
  });

  it("state of a step that is refused stays loaded", async () => {
    const model = makeModel("");
    const trained = created();
    stepOn(trained, model, LAYERS, 0);
    const before = await savedBy(trained);
    const loaded = created();
    await reloaded(trained, loaded);
    loaded.variableOptions = ({ name }) => {
      if (name === "head/kernel") throw new Error("not yet");
      return null;
    };
    const { numTensors } = tf.memory();
    expect(() => {
      stepOn(loaded, model, LAYERS, 1);
    }).toThrow("not yet");
    expect(tf.memory().numTensors).toBe(numTensors);
    expect(await savedBy(loaded)).toEqual(before);
    loaded.variableOptions = [];
    stepOn(loaded, model, LAYERS, 1);
    stepOn(trained, model, LAYERS, 1);
    expect(await savedBy(loaded)).toEqual(await savedBy(trained));
  });

  it("state of variables that were disposed of is given back, and not saved", async () => {
    const model = makeModel("");
    const optimizer = created();
    stepOn(optimizer, model, LAYERS, 0);
    stepOn(optimizer, model, LAYERS, 1);
    const before = await savedBy(optimizer);
    const { stateBytes } = optimizer;
    const rest = created();
    stepOn(rest, model, ["base/bias"], 0);
    const ofOne = rest.stateBytes;
    const tensors = tf.memory().numTensors;
    tf.dispose([model["base/kernel"], model["mid/kernel"], model["head/kernel"]]);
    expect(optimizer.stateBytes).toBe(ofOne);
    expect(optimizer.stateBytes).toBeLessThan(stateBytes / 4);
    expect(tf.memory().numTensors).toBeLessThanOrEqual(tensors - 3);
    const after = await savedBy(optimizer);
    expect([...after]).toEqual([["iter", [2]], ...of(before, "base/bias")]);
    // A variable of the same name is another one.
    const again = make("mid/kernel", SHAPES["mid/kernel"]);
    step(
      optimizer,
      [
        [again, 1],
        [model["base/bias"], 2],
      ],
      2,
    );
    const saved = await savedBy(optimizer);
    expect(saved.get("mid/kernel/lars_step")).toEqual([1]);
    expect(saved.get("base/bias/lars_step")).toEqual([3]);
    tf.dispose([again, model["base/bias"]]);
    expect(optimizer.stateBytes).toBe(0);
    expect([...(await savedBy(optimizer))]).toEqual([["iter", [3]]]);
  });

  it("steps go on as before when other variables are disposed of", async () => {
    const model = makeModel("");
    const others = makeModel("_1");
    const [optimizer, alone] = [created("LARS8bit"), created("LARS8bit")];
    for (let time = 0; time < 4; time++) {
      step(
        optimizer,
        [
          [model["mid/kernel"], 1],
          [model["base/bias"], 2],
        ],
        time,
      );
      step(alone, [[others["base/bias"], 2]], time);
      if (time === 1) tf.dispose(model["mid/kernel"]);
      if (time === 1) break;
    }
    for (let time = 2; time < 5; time++) {
      step(optimizer, [[model["base/bias"], 2]], time);
      step(alone, [[others["base/bias"], 2]], time);
    }
    expect([...(await model["base/bias"].data())]).toEqual([...(await others["base/bias"].data())]);
  });

  it("may be asked for its weights twice at a time, and while steps go on", async () => {
    const model = makeModel("");
    const optimizer = created();
    stepOn(optimizer, model, LAYERS, 0);
    const before = await savedBy(optimizer);
    const [first, second] = [optimizer.getWeights(), optimizer.getWeights()];
    stepOn(optimizer, model, LAYERS, 1);
    for (const weights of [await first, await second]) {
      const values = await Promise.all(
        weights.map(async ({ name, tensor }) => [name, [...(await tensor.data())]] as const),
      );
      expect(new Map(values)).toEqual(before);
    }
  });
});
