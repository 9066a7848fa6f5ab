/** Options: defaults, what goes together, and that each changes what is trained. */
import { Parameter } from "layerwise";
import { describe, expect, test } from "vitest";
import { defaultRate } from "../src/default-rates.js";
import {
  OPTIMIZERS,
  PRESETS,
  createOptimizer,
  learningRates,
  optimizerOptions,
} from "../src/optimizers.js";
import type { OptimizerName, RateOptions } from "../src/optimizers.js";
import { checkOptions } from "../src/options.js";
import type { RawOptions } from "../src/options.js";

const AT_8192 = { batchSize: 8192, samples: 60_000 };

/** Weights of a matrix and a bias after three steps. */
function trained(optimizer: OptimizerName, raw: RawOptions): number[] {
  const options = checkOptions({ ...raw, optimizer });
  const matrix = Parameter.allocate([80, 64], { name: "dense/kernel" });
  const bias = Parameter.allocate([64], { name: "dense/bias" });
  for (const { data } of [matrix, bias]) data.forEach((_, i) => (data[i] = Math.sin(i + 1)));
  const made = createOptimizer(
    optimizer,
    [matrix, bias],
    optimizerOptions(optimizer, options, 0.5),
  );
  for (const size of [1, 8, 2]) {
    for (const { grad } of [matrix, bias]) {
      grad.forEach((_, i) => (grad[i] = (size * Math.cos(3 * i)) / 10));
    }
    made.step();
  }
  const weights = [...matrix.data, ...bias.data];
  made.dispose();
  matrix.dispose();
  bias.dispose();
  return weights;
}

describe("defaults", () => {
  test("the run that needs no option", () => {
    expect(checkOptions({})).toEqual({
      model: "mlp",
      hidden: [300, 100],
      data: null,
      label: null,
      delimiter: null,
      header: null,
      missing: null,
      optimizer: ["lars8bit", "sgd"],
      batchSize: null,
      microBatch: 256,
      epochs: 10,
      lr: null,
      warmupEpochs: 2,
      schedule: "polynomial",
      momentum: null,
      nesterov: false,
      weightDecay: null,
      maxUnorm: null,
      trustCoefficient: null,
      preset: null,
      percentileClipping: null,
      seed: 1,
    });
  });

  test("lenet has smaller micro-batches and no hidden sizes", () => {
    expect(checkOptions({ model: "lenet" })).toMatchObject({ microBatch: 64, hidden: null });
  });

  test("what config.json keeps is what it was made from", () => {
    const options = checkOptions({ lr: "0.5", hidden: "20,10", optimizer: "lars,sgd", seed: "9" });
    expect(checkOptions(JSON.parse(JSON.stringify(options)) as RawOptions)).toEqual(options);
  });

  test("rates go with the root of the part of the set that is in a batch, and against the coefficient", () => {
    const rate = (raw: RawOptions, at = AT_8192): number =>
      defaultRate("lars8bit", checkOptions(raw), at);
    const base = rate({});
    expect(rate({}, { batchSize: 2048, samples: 60_000 })).toBeCloseTo(base / 2, 2);
    expect(rate({}, { batchSize: 2048, samples: 15_000 })).toBeCloseTo(base, 2);
    expect(rate({ trustCoefficient: 0.002 })).toBeCloseTo(10 * base, 2);
    expect(rate({ preset: "timm" })).toBeCloseTo(20 * base, 2);
    expect(rate({ preset: "bitsandbytes" })).toBe(rate({ maxUnorm: 0.02 }));
  });
});

describe("optimizers", () => {
  test("each name has the bits and, on matrices, the rule that it says; biases have neither rule nor decay", () => {
    const expected = {
      sgd: { optimBits: 32, rule: "none" },
      lars: { optimBits: 32, rule: "scale-gradient" },
      lars8bit: { optimBits: 8, rule: "scale-gradient" },
      lars32bit: { optimBits: 32, rule: "scale-gradient" },
    };
    for (const name of OPTIMIZERS) {
      const matrix = new Parameter(new Float32Array(8), { shape: [2, 4] });
      const bias = new Parameter(new Float32Array(4));
      const options = optimizerOptions(name, checkOptions({ optimizer: name }), 1);
      const { paramGroups } = createOptimizer(name, [bias, matrix], options).optimizer;
      const seen = paramGroups.map(({ params, optimBits, trustRatio: { rule }, weightDecay }) => ({
        ...{ params, optimBits, rule, decays: weightDecay > 0 },
      }));
      expect(seen).toEqual([
        { params: [matrix], ...expected[name], decays: true },
        { params: [bias], ...expected[name], rule: "none", decays: false },
      ]);
    }
  });

  test.each([
    { momentum: "0.5" },
    { nesterov: true },
    { weightDecay: "0.01" },
    { maxUnorm: "0.01" },
    { trustCoefficient: "0.01" },
    { percentileClipping: "20" },
    ...PRESETS.map((preset) => ({ preset })),
  ])("%o changes what LARS does", (raw) => {
    expect(trained("lars32bit", raw)).not.toEqual(trained("lars32bit", {}));
  });

  test.each([
    { momentum: "0.5" },
    { nesterov: true },
    { weightDecay: "0.01" },
    { percentileClipping: "20" },
  ])("%o changes what SGD does", (raw) => {
    expect(trained("sgd", raw)).not.toEqual(trained("sgd", {}));
  });

  test("8 bits, 32 bits and SGD differ; lars is lars32bit", () => {
    const [sgd, lars, lars8bit, lars32bit] = OPTIMIZERS.map((name) => trained(name, {}));
    expect(lars).toEqual(lars32bit);
    expect(lars8bit).not.toEqual(lars32bit);
    expect(sgd).not.toEqual(lars32bit);
  });

  test("a preset keeps its own values, which options go before", () => {
    const paper = optimizerOptions("lars", checkOptions({ preset: "paper" }), 1);
    expect(paper).toMatchObject({ momentum: 0.9, weightDecay: 0.0005 });
    const timm = optimizerOptions("lars", checkOptions({ preset: "timm" }), 1);
    expect(timm).toMatchObject({ momentum: 0.9, weightDecay: 1e-4 });
    const changed = checkOptions({ preset: "paper", weightDecay: "0.01", momentum: "0.5" });
    expect(optimizerOptions("lars", changed, 1)).toMatchObject({
      momentum: 0.5,
      weightDecay: 0.01,
    });
  });
});

describe("learning rates", () => {
  const rates = (options: Partial<RateOptions>): number[] => {
    const complete: RateOptions = { schedule: "polynomial", warmupSteps: 2, steps: 10, ...options };
    const at = learningRates(4, complete);
    return Array.from({ length: complete.steps }, (_, step) => at(step));
  };

  test("warm-up, then polynomial decay of power 2", () => {
    const expected = [2, 4, ...[8, 7, 6, 5, 4, 3, 2, 1].map((left) => 4 * (left / 8) ** 2)];
    rates({}).forEach((rate, step) => {
      expect(rate).toBeCloseTo(expected[step]!, 12);
    });
  });

  test("every schedule is another, and none needs a warm-up", () => {
    const all = (["constant", "polynomial", "cosine", "multi-step"] as const).map((schedule) =>
      rates({ schedule, warmupSteps: 0 }),
    );
    expect(new Set(all.map(String)).size).toBe(4);
    for (const [first] of all) expect(first).toBe(4);
  });

  test("multi-step falls to a tenth after half and to a hundredth after three quarters", () => {
    const found = rates({ schedule: "multi-step", warmupSteps: 0, steps: 8 });
    [4, 4, 4, 4, 0.4, 0.4, 0.04, 0.04].forEach((rate, step) => {
      expect(found[step]).toBeCloseTo(rate, 12);
    });
    expect(rates({ schedule: "multi-step", warmupSteps: 0, steps: 1 })).toEqual([4]);
  });
});

describe("what is refused", () => {
  test.each<[string, RawOptions]>([
    ['--model: got "resnet"; allowed is mlp, lenet', { model: "resnet" }],
    ['--hidden: got "0"; allowed is a whole number from 1 to 65536', { hidden: "300,0" }],
    ["--hidden: does nothing for --model lenet; it is for mlp", { model: "lenet", hidden: "3" }],
    ['--optimizer: got "adam"; allowed is sgd, lars, lars8bit, lars32bit', { optimizer: "adam" }],
    ["--optimizer: got sgd twice; allowed is once", { optimizer: "sgd,lars,sgd" }],
    ['--batch-size: got "1.5"; allowed is a whole number from 1 to 16777216', { batchSize: "1.5" }],
    ['--micro-batch: got "0"; allowed is a whole number from 1 to 65536', { microBatch: "0" }],
    ['--epochs: got "ten"; allowed is a whole number from 1 to 100000', { epochs: "ten" }],
    ['--lr: got "0"; allowed is a number > 0', { lr: "0" }],
    ['--lr: got "Infinity"; allowed is a number > 0', { lr: "Infinity" }],
    ['--warmup-epochs: got "10"; allowed is a number ≥ 0 and < 10', { warmupEpochs: "10" }],
    [
      '--schedule: got "step"; allowed is constant, polynomial, cosine, multi-step',
      { schedule: "step" },
    ],
    ['--momentum: got "1"; allowed is a number ≥ 0 and < 1', { momentum: "1" }],
    ["--nesterov: got --momentum 0 with it", { nesterov: true, momentum: "0" }],
    ['--weight-decay: got "-1"; allowed is a number ≥ 0', { weightDecay: "-1" }],
    ['--max-unorm: got "0"; allowed is a number > 0', { maxUnorm: "0" }],
    ['--trust-coefficient: got ""; allowed is a number > 0', { trustCoefficient: "" }],
    ['--preset: got "mine"; allowed is bitsandbytes, paper, timm', { preset: "mine" }],
    [
      '--percentile-clipping: got "101"; allowed is a whole number from 1 to 100',
      { percentileClipping: "101" },
    ],
    ['--seed: got "-1"; allowed is a whole number from 0 to 2147483647', { seed: "-1" }],
    ["--missing: expected --data FILE.csv with it", { missing: "mean" }],
    ["--delimiter: expected one character", { data: "x.csv", label: "y", delimiter: ";;" }],
    ["--label: expected --data FILE.csv with it, got no --data", { label: "kind" }],
    [
      "--max-unorm and --trust-coefficient: each chooses the trust-ratio rule; allowed is one of them",
      { maxUnorm: "1", trustCoefficient: "1" },
    ],
    ["--max-unorm and --preset: each chooses", { maxUnorm: "1", preset: "timm" }],
    ["--trust-coefficient and --preset: each chooses", { trustCoefficient: "1", preset: "timm" }],
    [
      "--preset: does nothing for sgd; allowed is with lars, lars8bit or lars32bit",
      { preset: "timm", optimizer: "sgd" },
    ],
  ])("%s", (message, raw) => {
    expect(() => checkOptions(raw)).toThrow(message);
    expect(() => checkOptions(raw)).toThrow(expect.objectContaining({ name: "UsageError" }));
  });
});
