/** What happens around steps, on the backends that run in Node. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as tf from "@tensorflow/tfjs";
import { build } from "esbuild";
import type { createLars } from "layerwise/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import {
  differencesAfterPartialReload,
  dispatchesOfStep,
  heldForDisposed,
  leftByRefused,
  settledOnes,
} from "./lifecycle.js";
import { use } from "./node-backends.js";
import { classes, makeVariables, stepOn } from "./scenarios.js";

describe.each(["cpu", "wasm", "plain"])("backend %s", (backend) => {
  beforeAll(() => use(backend));

  it.each([
    ...(["rate", "first options", "last options", "dtype", "earlier NaN"] as const).flatMap(
      (refusal) => [["LARS", refusal, true] as const, ["LARS8bit", refusal, false] as const],
    ),
  ])("%s: a refused minimize (%s, first step: %s) leaves no tensors behind", async (...args) => {
    expect(await leftByRefused(...args)).toBeLessThanOrEqual(0);
  });

  it("settled() tells of a gradient that was not finite, once", async () => {
    const late = backend === "plain";
    expect(await settledOnes("throw")).toEqual([
      ...["finite", "finite"],
      ...(late ? ["1"] : ["thrown", "finite"]),
      ...["finite", "finite"],
      ...(late ? ["2", "2"] : ["thrown", "finite", "finite"]),
      ...(late ? ["0", "finite"] : ["thrown", "finite", "finite"]),
    ]);
    expect(new Set(await settledOnes("skip"))).toEqual(new Set(["finite"]));
  });

  it.each(["LARS", "LARS8bit"] as const)(
    "%s: trains on after loading in the same page, with layers frozen and thawed, to the bit",
    async (name) => {
      expect(await differencesAfterPartialReload(name)).toBe(0);
    },
  );

  it("holds nothing for variables that were disposed of", async () => {
    expect(await heldForDisposed()).toEqual({ bytes: 0, names: 0, tensors: 0 });
  });

  it("never changes arrays that were given away", async () => {
    const given = new Float32Array(600).fill(1);
    const variable = tf.tidy(() => tf.variable(tf.tensor(given, [20, 30])));
    const optimizer = new classes.LARS({ lr: 0.1, momentum: 0.9 });
    const views: [array: ArrayLike<number>, copy: number[]][] = [];
    const see = (array: ArrayLike<number>): void => {
      views.push([array, Array.from(array)]);
    };
    see(given);
    let target: tf.Variable | null = null;
    for (let step = 0; step < 4; step++) {
      see(variable.dataSync());
      see(await variable.data());
      const slice = tf.slice(variable, [5, 0], [10, 30]);
      see(slice.dataSync());
      const row = tf.reshape(variable, [600]);
      see(row.dataSync());
      tf.dispose([slice, row]);
      stepOn(optimizer, [variable], step);
      // A target network, made of the values of this moment.
      target ??= tf.variable(tf.tensor(variable.dataSync(), [20, 30]));
      see(target.dataSync());
    }
    for (const [array, copy] of views) expect(Array.from(array)).toEqual(copy);
    expect([...variable.dataSync()]).not.toEqual([...target!.dataSync()]);
    optimizer.dispose();
    tf.dispose([variable, target!]);
  });

  it("steps made while a model is being saved are not in what is saved", async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.dense({ inputShape: [30], units: 20, activation: "relu" }),
        tf.layers.dense({ units: 3, activation: "softmax" }),
      ],
    });
    const optimizer = new classes.LARS({ lr: 0.1, momentum: 0.9 });
    model.compile({ optimizer, loss: "categoricalCrossentropy" });
    const x = tf.randomNormal([8, 30], 0, 1, "float32", 1);
    const y = tf.oneHot(tf.tensor1d([0, 1, 2, 0, 1, 2, 0, 1], "int32"), 3);
    const step = (): void => {
      // All variables that there are: the model's.
      optimizer.minimize(() =>
        tf.losses.softmaxCrossEntropy(y, model.apply(x) as tf.Tensor).asScalar(),
      );
    };
    step();
    step();
    const before = model.getWeights().flatMap((weight) => [...weight.dataSync()]);
    const saved: tf.io.ModelArtifacts[] = [];
    const saving = model.save(
      tf.io.withSaveHandler((artifacts) => {
        saved.push(artifacts);
        return Promise.resolve({
          modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: "JSON" as const },
        });
      }),
    );
    for (let time = 0; time < 3; time++) {
      step();
      await Promise.resolve();
    }
    await saving;
    const bytes = tf.io.CompositeArrayBuffer.join(saved[0]!.weightData);
    expect([...new Float32Array(bytes)]).toEqual(before);
    optimizer.dispose();
    model.dispose();
    tf.dispose([x, y]);
  });
});

it("by tensor operations, percentile clipping is decided for all layers at once", async () => {
  await use("plain");
  const options = { trustRatio: { rule: "scale-gradient" }, percentileClipping: 50 };
  const [few, many] = [await dispatchesOfStep(4, options), await dispatchesOfStep(20, options)];
  const [fewOff, manyOff] = [
    await dispatchesOfStep(4, { ...options, percentileClipping: 100 }),
    await dispatchesOfStep(20, { ...options, percentileClipping: 100 }),
  ];
  // A layer more takes as many operations more as without clipping, but for the factor that it looks up.
  expect((many - few) / 16).toBeLessThanOrEqual((manyOff - fewOff) / 16 + 3);
  await use("cpu");
});

it("classes have their names after minification", async () => {
  await use("cpu");
  const { outputFiles } = await build({
    stdin: {
      contents: `export { createLars } from "layerwise/tfjs";`,
      resolveDir: import.meta.dirname,
    },
    ...{ bundle: true, minify: true, format: "esm", write: false, logLevel: "silent" },
  });
  const folder = await mkdtemp(join(tmpdir(), "minified-"));
  const file = join(folder, "tfjs.mjs");
  await writeFile(file, outputFiles[0]!.contents);
  const minified = (await import(pathToFileURL(file).href)) as { createLars: typeof createLars };
  const made = minified.createLars(tf);
  for (const name of ["LARS", "LARS8bit", "LARS32bit"] as const) {
    const optimizer = new made[name]({ lr: 0.1 });
    expect(optimizer.constructor.name).toBe(name);
    expect(optimizer.getClassName()).toBe(name);
    const [variable] = makeVariables();
    stepOn(optimizer, [variable!], 0);
    optimizer.dispose();
    variable!.dispose();
  }
  expect(() => new made.LARS32bit({ lr: 0.1, optimBits: 8 })).toThrow("under LARS32bit");
  await rm(folder, { recursive: true });
});
