/** Options: defaults, what goes together, and that each changes what is trained. */
import { Parameter } from "layerwise";
import { describe, expect, test } from "vitest";
import { Team } from "../src/distributed/team.js";
import { createOptimizer } from "../src/optimizers/create.js";
import { OPTIMIZERS, RULES } from "../src/optimizers/names.js";
import type { OptimizerName } from "../src/optimizers/names.js";
import { PRESETS, larsOptions } from "../src/optimizers/options.js";
import { learningRates } from "../src/optimizers/rates.js";
import type { RateOptions } from "../src/optimizers/rates.js";
import { checkOptions } from "../src/options.js";
import type { RawOptions } from "../src/options.js";

/** Weights of a matrix and a bias after three steps. */
function trained(optimizer: OptimizerName, raw: RawOptions): number[] {
  const options = checkOptions({ ...raw, optimizer });
  const matrix = Parameter.allocate([80, 64], { name: "dense/kernel" });
  const bias = Parameter.allocate([64], { name: "dense/bias" });
  for (const { data } of [matrix, bias]) data.forEach((_, i) => (data[i] = Math.sin(i + 1)));
  const maxGradNorm = typeof options.maxGradNorm === "number" ? options.maxGradNorm : null;
  const made = createOptimizer(optimizer, [matrix, bias], {
    step: options,
    lr: () => 0.5,
    maxGradNorm,
    team: Team.alone(),
    shardState: false,
    threads: 1,
  });
  for (const size of [1, 8, 2]) {
    for (const { grad } of [matrix, bias]) {
      grad.forEach((_, i) => (grad[i] = (size * Math.cos(3 * i)) / 10));
    }
    made.step(1);
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
      optimizer: ["lars8bit", "sgd-nesterov+clip", "sgd"],
      batchSize: null,
      microBatch: 256,
      epochs: null,
      lr: null,
      maxGradNorm: null,
      init: "he",
      holdOut: false,
      shardState: false,
      warmupEpochs: null,
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
    expect(checkOptions({ model: "lenet" })).toMatchObject({ microBatch: 128, hidden: null });
  });

  test("what config.json keeps is what it was made from", () => {
    const options = checkOptions({ lr: "0.5", hidden: "20,10", optimizer: "lars,sgd", seed: "9" });
    expect(checkOptions(JSON.parse(JSON.stringify(options)) as RawOptions)).toEqual(options);
  });
});

describe("optimizers", () => {
  test("every rule is another step, but for lars and lars32bit; +clip alone changes nothing", () => {
    const steps = RULES.map((rule) => String(trained(rule, {})));
    expect(new Set(steps).size).toBe(RULES.length - 1);
    expect(trained("lars", {})).toEqual(trained("lars32bit", {}));
    for (const rule of RULES) expect(trained(`${rule}+clip`, {})).toEqual(trained(rule, {}));
  });

  test("biases have neither trust ratio nor weight decay", () => {
    for (const rule of RULES) {
      const bias = (raw: RawOptions): number[] => trained(rule, raw).slice(80 * 64);
      expect(bias({ weightDecay: "0.5" })).toEqual(bias({}));
      expect(trained(rule, { weightDecay: "0.5" })).not.toEqual(trained(rule, {}));
    }
    expect(trained("lars32bit", {}).slice(80 * 64)).toEqual(trained("sgd", {}).slice(80 * 64));
  });

  test.each(OPTIMIZERS)("%s: a limit of the gradients' norm changes the step", (name) => {
    expect(trained(name, { maxGradNorm: "0.01" })).not.toEqual(trained(name, {}));
    expect(trained(name, { maxGradNorm: "1e9" })).toEqual(trained(name, {}));
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

  test("a preset keeps its own values, which options go before", () => {
    const setting = { lr: 1, maxGradNorm: null };
    const paper = larsOptions("lars", checkOptions({ preset: "paper" }), setting);
    expect(paper).toMatchObject({ momentum: 0.9, weightDecay: 0.0005 });
    const timm = larsOptions("lars", checkOptions({ preset: "timm" }), setting);
    expect(timm).toMatchObject({ momentum: 0.9, weightDecay: 1e-4 });
    const changed = checkOptions({ preset: "paper", weightDecay: "0.01", momentum: "0.5" });
    expect(larsOptions("lars", changed, setting)).toMatchObject({
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
    ['--model: expected one of mlp, lenet, got "resnet"', { model: "resnet" }],
    ['--hidden: expected a whole number from 1 to 65536, got "0"', { hidden: "300,0" }],
    ["--hidden: expected --model mlp with it, got --model lenet", { model: "lenet", hidden: "3" }],
    ["--optimizer: expected one of sgd, sgd-nesterov, adamw, lars, ", { optimizer: "adam" }],
    ["--optimizer: expected each once, got sgd twice", { optimizer: "sgd,lars,sgd" }],
    ['--batch-size: expected a whole number from 1 to 16777216, got "1.5"', { batchSize: "1.5" }],
    ['--micro-batch: expected a whole number from 1 to 65536, got "0"', { microBatch: "0" }],
    ['--epochs: expected a whole number from 1 to 100000, got "ten"', { epochs: "ten" }],
    ['--lr: expected a number > 0, got "0"', { lr: "0" }],
    ['--lr: expected a number > 0, got "Infinity"', { lr: "Infinity" }],
    [
      '--warmup-epochs: expected a number ≥ 0 and < 10, got "10"',
      { warmupEpochs: "10", epochs: 10 },
    ],
    [
      '--schedule: expected one of constant, polynomial, cosine, multi-step, got "step"',
      { schedule: "step" },
    ],
    ['--momentum: expected a number ≥ 0 and < 1, got "1"', { momentum: "1" }],
    [
      "--momentum: expected a number > 0 with Nesterov momentum, got 0",
      { nesterov: true, momentum: "0" },
    ],
    ['--weight-decay: expected a number ≥ 0, got "-1"', { weightDecay: "-1" }],
    ['--max-unorm: expected a number > 0, got "0"', { maxUnorm: "0" }],
    ['--trust-coefficient: expected a number > 0, got ""', { trustCoefficient: "" }],
    ["--preset: expected one of bitsandbytes, paper, timm, ", { preset: "mine" }],
    [
      '--percentile-clipping: expected a whole number from 1 to 100, got "101"',
      { percentileClipping: "101" },
    ],
    ['--seed: expected a whole number from 0 to 2147483647, got "-1"', { seed: "-1" }],
    ["--nesterov: expected an optimizer other than adamw", { optimizer: "adamw", nesterov: true }],
    [
      "--percentile-clipping: expected an optimizer other than adamw",
      { optimizer: "adamw", percentileClipping: "50" },
    ],
    ["--missing: expected --data FILE.csv with it", { missing: "mean" }],
    ["--delimiter: expected one character", { data: "x.csv", label: "y", delimiter: ";;" }],
    ["--label: expected --data FILE.csv with it, got no --data", { label: "kind" }],
    [
      "--max-unorm and --trust-coefficient: expected one of them, got 2",
      { maxUnorm: "1", trustCoefficient: "1" },
    ],
    ["--max-unorm and --preset: expected one of them", { maxUnorm: "1", preset: "timm" }],
    [
      "--trust-coefficient and --preset: expected one of them",
      { trustCoefficient: "1", preset: "timm" },
    ],
    [
      "--preset: expected lars, lars8bit or lars32bit among the optimizers, got sgd",
      { preset: "timm", optimizer: "sgd" },
    ],
  ])("%s", (message, raw) => {
    expect(() => checkOptions(raw)).toThrow(message);
    expect(() => checkOptions(raw)).toThrow(expect.objectContaining({ name: "UsageError" }));
  });
});
