/** Commands that add to gradients. */
import type { Command } from "./command.js";
import { alive, at, drawn } from "./lookup.js";
import { realOf } from "./real.js";
import type { Real } from "./real.js";
import { demandRefusal } from "./refusal.js";
import { demand } from "./verify.js";
import type { World } from "./world.js";

export function runAccumulate(
  { pick, values, factor }: Command & { kind: "accumulate" },
  world: World,
  real: Real,
): void {
  const parameter = at(alive(world), pick)!;
  const { size } = parameter;
  const actual = realOf(real, parameter);
  const part = drawn(values, size);
  const before = parameter.gradient?.values.slice() ?? new Float32Array(size);
  real.library.accumulate(actual, part, factor);
  const { grad } = actual;
  demand(grad !== null && grad.length === size, () => "accumulate: no gradient");
  for (let i = 0; i < size; i++) {
    const expected = before[i]! + factor * part[i]!;
    // The factor, the product and the sum are rounded to float32.
    const tolerance = 2e-7 * (Math.abs(before[i]!) + Math.abs(factor * part[i]!));
    demand(Math.abs(grad[i]! - expected) <= tolerance, () => {
      return `accumulate: element ${i} is ${grad[i]}, expected ${expected} ± ${tolerance}`;
    });
  }
  if (parameter.gradient === null) {
    parameter.gradient = { values: grad.slice() };
    real.arrays.set(parameter.gradient, grad);
  } else {
    parameter.gradient.values.set(grad);
  }
}

export function runWrongAccumulate(
  { pick, how }: Command & { kind: "wrongAccumulate" },
  world: World,
  real: Real,
): void {
  const parameter = at(alive(world), pick)!;
  const { size } = parameter;
  const actual = realOf(real, parameter);
  const before = actual.grad;
  const name = JSON.stringify(parameter.name ?? "parameter");
  const good = new Float32Array(size).fill(1);
  const { accumulate } = real.library;
  if (how === "length") {
    const longer = new Float32Array(size + 1).fill(1);
    demandRefusal(
      () => {
        accumulate(actual, longer);
      },
      [name],
      "accumulate: length",
    );
  } else if (how === "type") {
    demandRefusal(
      () => {
        accumulate(actual, [...good] as never);
      },
      [name],
      "accumulate: type",
    );
  } else if (how === "scale") {
    demandRefusal(
      () => {
        accumulate(actual, good, Infinity);
      },
      ["scale"],
      "accumulate: scale",
    );
  } else {
    const wrong = how === "grad type" ? new Float64Array(size) : new Float32Array(size + 1);
    actual.grad = wrong as never;
    demandRefusal(
      () => {
        accumulate(actual, good);
      },
      [name, "grad"],
      `accumulate: ${how}`,
    );
    demand(
      wrong.every((value) => value === 0),
      () => "accumulate: wrote into a wrong gradient",
    );
  }
  actual.grad = before;
}
