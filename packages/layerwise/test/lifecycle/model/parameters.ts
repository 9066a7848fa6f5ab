/** Commands about parameters and their gradients. */
import type { Command } from "./command.js";
import { alive, at, drawn, isAlive } from "./lookup.js";
import { makeParameter, realOf } from "./real.js";
import type { Real } from "./real.js";
import type { Cell, World, WorldParameter } from "./world.js";

export function named(world: World, isNamed: boolean): Pick<WorldParameter, "name"> {
  return { name: isNamed ? `p${world.parameters.length}` : null };
}

export function addParameter(
  world: World,
  real: Real,
  given: Omit<WorldParameter, "ownGradient">,
): WorldParameter {
  const parameter: WorldParameter = { ...given, ownGradient: null };
  if (given.origin === "allocated") {
    parameter.ownGradient = { values: new Float32Array(given.size) };
    parameter.gradient = parameter.ownGradient;
  }
  world.parameters.push(parameter);
  makeParameter(real, parameter, world);
  return parameter;
}

/** Puts a gradient into a parameter of both, in an array that the caller makes. */
export function setOwnGradient(real: Real, parameter: WorldParameter, values: Float32Array): void {
  const cell: Cell = { values };
  const array = values.slice();
  parameter.gradient = cell;
  real.arrays.set(cell, array);
  realOf(real, parameter).grad = array;
}

export function setNoGradient(real: Real, parameter: WorldParameter): void {
  parameter.gradient = null;
  realOf(real, parameter).grad = null;
}

/** Fills the gradient, as a backward pass does; where there is none, makes one. */
export function fillGradient(real: Real, parameter: WorldParameter, values: Float32Array): void {
  if (parameter.gradient === null) {
    setOwnGradient(real, parameter, values);
  } else {
    parameter.gradient.values.set(values);
    realOf(real, parameter).grad!.set(values);
  }
}

export function runSetGradient(
  { pick, way, values }: Command & { kind: "setGradient" },
  world: World,
  real: Real,
): void {
  const parameter = at(alive(world), pick)!;
  const put = (cell: Cell): void => {
    parameter.gradient = cell;
    realOf(real, parameter).grad = real.arrays.get(cell)!;
  };
  switch (way) {
    case "fill":
      fillGradient(real, parameter, drawn(values, parameter.size));
      return;
    case "own":
      setOwnGradient(real, parameter, drawn(values, parameter.size));
      return;
    case "null":
      setNoGradient(real, parameter);
      return;
    case "original":
      if (parameter.ownGradient !== null) put(parameter.ownGradient);
      return;
    case "shared": {
      const other = alive(world).find(
        (candidate) =>
          candidate !== parameter &&
          candidate.size === parameter.size &&
          candidate.gradient !== null,
      );
      if (other !== undefined) put(other.gradient!);
    }
  }
}

export function disposeParameter(world: World, real: Real, parameter: WorldParameter): void {
  const actual = realOf(real, parameter);
  if (parameter.fate === "disposed") {
    actual.dispose();
    return;
  }
  const owner = parameter.origin === "allocated";
  // Before a caller gives memory back, it must not use its arrays elsewhere any more.
  for (const other of world.parameters) {
    if (other === parameter) continue;
    if (owner && other.gradient === parameter.ownGradient) setNoGradient(real, other);
    if (owner && other.weights === parameter.weights && isAlive(other)) {
      setNoGradient(real, other);
      other.fate = "dangling";
    }
  }
  actual.dispose();
  // Twice frees nothing of what somebody else has got since.
  actual.dispose();
  parameter.fate = "disposed";
  if (owner) parameter.gradient = null;
  else setNoGradient(real, parameter);
}
