/** Arrays that change under the library: resized, detached, of another length or type. */
import type { Command } from "./command.js";
import { alive, at, detachables, indexOf, isAlive, resizables, isDead } from "./lookup.js";
import { setNoGradient } from "./parameters.js";
import { detach, realOf, resizableArray, resize } from "./real.js";
import type { Real } from "./real.js";
import { demandRefusal } from "./refusal.js";
import { demand, demandSame } from "./verify.js";
import { labelOf } from "./world.js";
import type { World, WorldOptimizer, WorldParameter } from "./world.js";

/** The layers of living optimizers that step on a parameter, as errors name them. */
export function steppers(world: World, parameter: WorldParameter): [WorldOptimizer, string][] {
  if (parameter.gradient === null) return [];
  return world.optimizers.flatMap((optimizer): [WorldOptimizer, string][] => {
    const layer = optimizer.layers.find((other) => other.parameter === parameter);
    if (layer === undefined || optimizer.isDisposed || optimizer.layers.some(isDead)) return [];
    return [[optimizer, labelOf(optimizer, layer)]];
  });
}

/** Every optimizer refuses to step on a parameter, by its name. */
export function demandRefusedSteps(
  world: World,
  real: Real,
  parameter: WorldParameter,
  what: string,
  also: readonly string[] = [],
): void {
  for (const [optimizer, label] of steppers(world, parameter)) {
    const actual = real.optimizers[indexOf(world, optimizer)]!;
    const before = actual.stateDict().step;
    const labels = [label, ...also].map((name) => JSON.stringify(name));
    demandRefusal(() => actual.step(), labels, `step over ${what}`);
    demand(actual.stateDict().step === before, () => `step over ${what}: it counts`);
  }
}

export function runResize(
  { pick, to }: Command & { kind: "resize" },
  world: World,
  real: Real,
): void {
  const parameter = at(resizables(world), pick)!;
  const { size, weights } = parameter;
  const array = real.arrays.get(weights)!;
  const length = to === "grow" ? size + Math.ceil(size / 2) : Math.floor(size / 2);
  const tied = world.parameters
    .filter((other) => other.weights === weights && isAlive(other))
    .map((other) => other.name ?? "layer");
  resize(array, length);
  demandRefusedSteps(world, real, parameter, `data that ${to}s`);
  // Nothing was written: what is left, and zeros beyond.
  const kept = Math.min(size, length);
  demandSame(
    array.subarray(0, kept),
    weights.values.subarray(0, kept),
    `data after ${to}, ${tied.join()}`,
  );
  demand(
    array.subarray(kept).every((value) => value === 0),
    () => "written beyond the weights",
  );
  resize(array, size);
  weights.values.fill(0, kept);
}

export function runDetach({ pick }: Command & { kind: "detach" }, world: World, real: Real): void {
  const parameter = at(detachables(world), pick)!;
  detach(real.arrays.get(parameter.weights)!);
  demandRefusedSteps(world, real, parameter, "detached data");
  parameter.fate = "detached";
  setNoGradient(real, parameter);
}

/** A gradient that can't be right: refused by name; afterwards the parameter has its old one again. */
export function runSpoilGradient(
  { pick, how }: Command & { kind: "spoilGradient" },
  world: World,
  real: Real,
): void {
  const parameter = at(alive(world), pick)!;
  const { size } = parameter;
  const actual = realOf(real, parameter);
  const before = { cell: parameter.gradient, grad: actual.grad };
  const array = resizableArray(new Float32Array(size).fill(1));
  parameter.gradient = { values: array };
  actual.grad = array;
  if (how === "shrink") resize(array, size - 1);
  if (how === "grow") resize(array, size + 1);
  if (how === "detach") detach(array);
  if (how === "length") actual.grad = new Float32Array(size + 1);
  if (how === "type") actual.grad = new Float64Array(size) as never;
  demandRefusedSteps(world, real, parameter, `a gradient with another ${how}`);
  parameter.gradient = before.cell;
  actual.grad = before.grad;
}
