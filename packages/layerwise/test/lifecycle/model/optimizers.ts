/** Commands that make optimizers, and change their groups and options. */
import type { Command } from "./command.js";
import { added, indexOf, optimizerAt, picked } from "./lookup.js";
import { asGiven, construct, realOf } from "./real.js";
import type { Real } from "./real.js";
import { demandRefusal } from "./refusal.js";
import { wrongOption } from "./world.js";
import type { World, WorldGroup, WorldOptimizer, WorldOptions, WorldParameter } from "./world.js";

export function groupOptions(defaults: WorldOptions, given: Partial<WorldOptions>): WorldOptions {
  return { ...defaults, ...given };
}

export function runConstruct(
  { className, picks, isTwice, options, second }: Command & { kind: "construct" },
  world: World,
  real: Real,
): void {
  const bits = { LARS: options.optimBits, LARS8bit: 8, LARS32bit: 32 } as const;
  const defaults = { ...options, optimBits: bits[className] };
  const found = picked(world, picks);
  const all = isTwice ? [...found, found[0]!] : found;
  const parts = second === null ? [all] : [0, 1].map((k) => all.filter((_, i) => i % 2 === k));
  const groups = parts
    .map((params, index) => ({ params, options: index === 0 ? {} : (second ?? {}) }))
    .filter(({ params }) => params.length > 0);
  const resolved = groups.map((group) => groupOptions(defaults, group.options));
  const wrong = [
    wrongOption(defaults, className),
    ...resolved.map((group) => wrongOption(group, className)),
  ].filter((option) => option !== null);
  const make = (): unknown => construct(real, className, groups, defaults);
  if (wrong.length > 0 || isTwice) {
    demandRefusal(make, [...wrong, ...(isTwice ? ["twice"] : [])], "constructor");
    return;
  }
  const optimizer: WorldOptimizer = {
    ...{ className, defaults, steps: 0, isDisposed: false, layers: [] },
    groups: resolved.map((values) => ({ options: values })),
  };
  groups.forEach(({ params }, index) => {
    addLayers(optimizer, optimizer.groups[index]!, params);
  });
  real.optimizers.push(construct(real, className, groups, defaults));
  world.optimizers.push(optimizer);
}

export function addLayers(
  optimizer: WorldOptimizer,
  group: WorldGroup,
  params: readonly WorldParameter[],
): void {
  for (const parameter of params) {
    optimizer.layers.push({ parameter, group, steps: 0, momentum: null, history: null });
  }
}

export function runAddGroup(
  command: Command & { kind: "addGroup" },
  world: World,
  real: Real,
): void {
  const { options, isTwice } = command;
  const optimizer = optimizerAt(world, command.optimizer)!;
  const params = added(world, optimizer, command);
  const values = groupOptions(optimizer.defaults, options);
  const add = (): void => {
    real.optimizers[indexOf(world, optimizer)]!.addParamGroup({
      ...asGiven(options),
      params: params.map((parameter) => realOf(real, parameter)),
    });
  };
  const wrong = [
    wrongOption(values, optimizer.className) ?? [],
    isTwice ? "twice" : [],
    optimizer.isDisposed ? "disposed" : [],
  ].flat();
  if (wrong.length > 0) {
    demandRefusal(add, wrong, "addParamGroup");
    return;
  }
  add();
  const group = { options: values };
  optimizer.groups.push(group);
  addLayers(optimizer, group, params);
}

type Settable = Record<string, unknown>;

export function setOn(
  real: Real,
  world: World,
  optimizer: WorldOptimizer,
  group: number,
): Settable {
  return real.optimizers[indexOf(world, optimizer)]!.paramGroups[group] as unknown as Settable;
}

export function runSetOption(
  { optimizer: pick, group: groupPick, change }: Command & { kind: "setOption" },
  world: World,
  real: Real,
): void {
  const optimizer = optimizerAt(world, pick)!;
  if (optimizer.isDisposed) return;
  const index = groupPick % optimizer.groups.length;
  const group = optimizer.groups[index]!;
  const live = setOn(real, world, optimizer, index);
  const next = { ...group.options, ...change };
  const wrong = wrongOption(next, optimizer.className);
  Object.assign(live, asGiven(change));
  if (wrong === null) {
    group.options = next;
    return;
  }
  // Together with the others it is wrong: the next step says so, and the user takes it back.
  const actual = real.optimizers[indexOf(world, optimizer)]!;
  demandRefusal(() => actual.step(), [wrong], `step with a wrong ${wrong}`);
  for (const option of Object.keys(change) as (keyof WorldOptions)[]) {
    Object.assign(live, asGiven({ [option]: group.options[option] }));
  }
}

/** Set to a wrong value: an error at once, or at the next step. */
export function runWrongOption(
  { optimizer: pick, group: groupPick, option, value }: Command & { kind: "wrongOption" },
  world: World,
  real: Real,
): void {
  const optimizer = optimizerAt(world, pick)!;
  if (optimizer.isDisposed) return;
  const index = groupPick % optimizer.groups.length;
  const live = setOn(real, world, optimizer, index);
  const actual = real.optimizers[indexOf(world, optimizer)]!;
  const attempt = (): void => {
    live[option] = value;
    actual.step();
  };
  demandRefusal(attempt, [option], `${option} set to ${String(value)}`);
  const { options } = optimizer.groups[index]!;
  const back = option === "maxUnorm" ? "trustRatio" : option;
  Object.assign(live, asGiven({ [back]: options[back] }));
}

/** After dispose() everything but dispose() is an error. */
export function demandDisposed(world: World, real: Real, optimizer: WorldOptimizer): void {
  const actual = real.optimizers[indexOf(world, optimizer)]!;
  demandRefusal(() => actual.step(), ["disposed"], "step after dispose()");
  demandRefusal(() => actual.stateDict(), ["disposed"], "stateDict after dispose()");
  actual.dispose();
}
