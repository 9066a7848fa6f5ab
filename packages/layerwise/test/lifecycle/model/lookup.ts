/** What commands are about: picks count modulo what there is. */
import { randomArray } from "../../helpers/random.js";
import type { Command, Values } from "./command.js";
import type { Cell, World, WorldLayer, WorldOptimizer, WorldParameter } from "./world.js";

export function at<Item>(items: readonly Item[], pick: number): Item | undefined {
  return items.length === 0 ? undefined : items[pick % items.length];
}

export function isAlive({ fate }: WorldParameter): boolean {
  return fate === "alive";
}

export function alive(world: World): WorldParameter[] {
  return world.parameters.filter(isAlive);
}

export function isDead({ parameter }: WorldLayer): boolean {
  return parameter.fate === "disposed" || parameter.fate === "detached";
}

/**
 * Parameters by picks: each array once, since one optimizer that steps an array twice is the caller's mistake.
 *
 * @param taken arrays that the optimizer has already
 */
export function picked(
  world: World,
  picks: readonly number[],
  taken: readonly Cell[] = [],
): WorldParameter[] {
  const parameters = alive(world);
  const found = new Map(
    picks.flatMap((pick) => {
      const parameter = at(parameters, pick);
      return parameter === undefined || taken.includes(parameter.weights)
        ? []
        : [[parameter.weights, parameter] as const];
    }),
  );
  return [...found.values()];
}

export function optimizerAt(world: World, pick: number): WorldOptimizer | undefined {
  return at(world.optimizers, pick);
}

export function indexOf(world: World, optimizer: WorldOptimizer): number {
  return world.optimizers.indexOf(optimizer);
}

export function drawn({ seed, scale, zeros }: Values, size: number): Float32Array {
  return randomArray(size, seed, { scale, zeros });
}

/** What a group should add; with a mistake in it, one that the optimizer has already. */
export function added(
  world: World,
  { layers }: WorldOptimizer,
  { picks, isTwice }: Command & { kind: "addGroup" },
): WorldParameter[] {
  const known = layers.map(({ parameter }) => parameter);
  const fresh = picked(
    world,
    picks,
    known.map(({ weights }) => weights),
  );
  return isTwice ? [...fresh, known[0]!] : fresh;
}

export function resizables(world: World): WorldParameter[] {
  return alive(world).filter(({ origin }) => origin === "resizable");
}

export function detachables(world: World): WorldParameter[] {
  return alive(world).filter(({ origin, weights }) => {
    const owners = world.parameters.filter((other) => other.weights === weights);
    return owners.length === 1 && ["plain", "subarray", "resizable"].includes(origin);
  });
}

/** Also those that were disposed of long ago, whose memory somebody else may have by now. */
export function disposables(world: World): WorldParameter[] {
  return world.parameters.filter(({ fate }) => fate === "alive" || fate === "disposed");
}
