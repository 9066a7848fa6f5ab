/** AdamW against PyTorch's own numbers, and its checkpoints. */
import { NonFiniteGradientError, Parameter } from "layerwise";
import { describe, expect, test } from "vitest";
import { AdamW } from "../src/optimizers/adamw.js";
import type { AdamWOptions } from "../src/optimizers/adamw.js";
import torch from "./data/adamw-torch.json" with { type: "json" };

function parameters(): Parameter[] {
  const [matrix, bias] = torch.first;
  const made = [
    Parameter.allocate([3, 4], { name: "kernel" }),
    Parameter.allocate([4], { name: "bias" }),
  ];
  made[0]!.data.set(matrix!);
  made[1]!.data.set(bias!);
  return made;
}

/** The gradients of step k, as torch had them; multiplied by `factor`. */
function setGradients(own: readonly Parameter[], step: number, factor = 1): void {
  own.forEach(({ grad }, index) => {
    grad!.set(torch.gradients[step]![index]!.map((value) => value * factor));
  });
}

describe.each(torch.runs)("maxGradNorm $maxGradNorm", ({ maxGradNorm, weights }) => {
  const { weightDecay, beta1, rates } = torch;
  const options: AdamWOptions = {
    ...{ weightDecay, beta1, maxGradNorm },
    lr: (step) => rates[step]!,
  };

  test("20 steps are those of torch.optim.AdamW: relative difference < 1e-5, of float32 state in another order", () => {
    const own = parameters();
    const optimizer = new AdamW(own, options);
    weights.forEach((expected, step) => {
      // The gradients are sums over 4 samples.
      setGradients(own, step, 4);
      optimizer.step(1 / 4);
      own.forEach(({ data, name }, index) => {
        data.forEach((value, element) => {
          const torchValue = expected[index]![element]!;
          const difference = Math.abs(value - torchValue) / Math.max(Math.abs(torchValue), 0.01);
          expect({ step, name, element, small: difference < 1e-5, difference }).toMatchObject({
            small: true,
          });
        });
      });
    });
  });

  test("a copy from a checkpoint goes on with the same bits", () => {
    const [own, other] = [parameters(), parameters()];
    const optimizer = new AdamW(own, options);
    for (let step = 0; step < 7; step++) {
      setGradients(own, step);
      optimizer.step(1);
    }
    const resumed = new AdamW(other, options);
    resumed.restore(optimizer.save());
    other.forEach(({ data }, index) => {
      data.set(own[index]!.data);
    });
    for (const [run, made] of [
      [optimizer, own],
      [resumed, other],
    ] as const) {
      setGradients(made, 7);
      expect(run.step(1).step).toBe(8);
    }
    expect(other.map(({ data }) => [...data])).toEqual(own.map(({ data }) => [...data]));
  });
});

test("a gradient that is not finite is refused by name, and nothing is written", () => {
  const own = parameters();
  const optimizer = new AdamW(own, { lr: () => 1, beta1: 0.9, weightDecay: 0, maxGradNorm: 1 });
  setGradients(own, 0);
  own[1]!.grad![2] = Infinity;
  const before = own.map(({ data }) => [...data]);
  expect(() => optimizer.step(1)).toThrow(NonFiniteGradientError);
  expect(() => optimizer.step(1)).toThrow('"bias"');
  expect(own.map(({ data }) => [...data])).toEqual(before);
  expect(optimizer.save().step).toBe(0);
});

test("a checkpoint of another model is refused by name", () => {
  const options = { lr: () => 1, beta1: 0.9, weightDecay: 0, maxGradNorm: null };
  const optimizer = new AdamW(parameters(), options);
  const { tensors, ...saved } = optimizer.save();
  delete tensors!["bias/adamw_mean"];
  expect(() => {
    optimizer.restore({ ...saved, tensors: tensors! });
  }).toThrow("bias/adamw_mean: expected 4 elements, got none");
});
