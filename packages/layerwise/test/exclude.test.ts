import { describe, expect, it } from "vitest";
import { excludeFromAdaptation, LARS, Parameter } from "../src/index.js";
import { parameterOf, runSteps } from "./helpers/problem.js";
import { randomArray } from "./helpers/random.js";

function layers(): { kernel: Parameter; bias: Parameter; scalar: Parameter; filter: Parameter } {
  return {
    kernel: Parameter.allocate([4, 3], { name: "kernel" }),
    bias: Parameter.allocate([3], { name: "bias" }),
    scalar: Parameter.allocate([], { name: "scalar" }),
    filter: Parameter.allocate([2, 2, 1, 5], { name: "filter" }),
  };
}

describe("excludeFromAdaptation", () => {
  it("makes a group of parameters with 2 dimensions or more, and one of the others without ratio and decay", () => {
    const { kernel, bias, scalar, filter } = layers();
    expect(excludeFromAdaptation([bias, kernel, scalar, filter])).toEqual([
      { params: [kernel, filter] },
      { params: [bias, scalar], trustRatio: "none", weightDecay: 0 },
    ]);
  });

  it("leaves out a group without parameters", () => {
    const { kernel, bias } = layers();
    expect(excludeFromAdaptation([kernel])).toEqual([{ params: [kernel] }]);
    expect(excludeFromAdaptation([bias])).toEqual([
      { params: [bias], trustRatio: "none", weightDecay: 0 },
    ]);
  });

  it("takes another criterion", () => {
    const { kernel, bias, filter } = layers();
    const groups = excludeFromAdaptation([kernel, bias, filter], ({ name }) => name === "filter");
    expect(groups.map(({ params }) => params)).toEqual([[kernel, bias], [filter]]);
  });

  it("refuses what is no list of parameters", () => {
    for (const wrong of [[], null, undefined, [1], layers().kernel, [{ params: [] }]]) {
      expect(() => excludeFromAdaptation(wrong as never)).toThrow(TypeError);
    }
  });

  it.each([null, 3, "bias", true])("refuses %o as the function that excludes", (wrong) => {
    const exclude = (): unknown => excludeFromAdaptation([parameterOf([1])], wrong as never);
    expect(exclude).toThrow(TypeError);
    expect(exclude).toThrow(/^excludeFromAdaptation: isExcluded: expected a function/);
  });

  it("gives groups that step: excluded layers as SGD without decay, the others by the rule", () => {
    const weights = randomArray(12, 1);
    const kernel = parameterOf(weights, { shape: [4, 3] });
    const bias = parameterOf([1, 2, 3]);
    const optimizer = new LARS(excludeFromAdaptation([kernel, bias]), {
      lr: 0.5,
      weightDecay: 0.25,
      trustRatio: { rule: "scale-update", coefficient: 0.125 },
    });
    runSteps(optimizer, [kernel, bias], 1);
    bias.data.forEach((value, index) => {
      expect(value).toBe(Math.fround(index + 1 - 0.5 * bias.grad![index]!));
    });
    expect(optimizer.paramGroups.map(({ trustRatio }) => trustRatio.rule)).toEqual([
      "scale-update",
      "none",
    ]);
    expect(optimizer.paramGroups.map(({ weightDecay }) => weightDecay)).toEqual([0.25, 0]);
  });

  it("keeps the names, so that a state finds its layers whatever the groups", () => {
    const make = (all: Parameter[]): LARS =>
      new LARS(excludeFromAdaptation(all), { lr: 0.1, momentum: 0.9 });
    const { kernel, bias } = layers();
    const first = make([kernel, bias]);
    runSteps(first, [kernel, bias], 1);
    const other = layers();
    const plain = new LARS([other.bias, other.kernel], { lr: 0.1, momentum: 0.9 });
    plain.loadStateDict(first.stateDict());
    expect(plain.stateDict().layers.map(({ name, step }) => [name, step])).toEqual([
      ["bias", 1],
      ["kernel", 1],
    ]);
  });
});
