/** Commands that save and load. */
import type { StateDict } from "../../../src/index.js";
import { valuesOf } from "./codes.js";
import type { Command } from "./command.js";
import { demandMomentum } from "./compare.js";
import { indexOf, optimizerAt } from "./lookup.js";
import { addLayers, demandDisposed } from "./optimizers.js";
import { addParameter } from "./parameters.js";
import { construct } from "./real.js";
import type { Real } from "./real.js";
import { demandRefusal } from "./refusal.js";
import { demand } from "./verify.js";
import { copyOfMomentum, labelOf, wantedKind } from "./world.js";
import type { SavedLayer, World, WorldLayer, WorldOptimizer, WorldSave } from "./world.js";

export function runSave(
  { optimizer: pick, asBytes }: Command & { kind: "save" },
  world: World,
  real: Real,
): void {
  const optimizer = optimizerAt(world, pick)!;
  if (optimizer.isDisposed) {
    demandDisposed(world, real, optimizer);
    return;
  }
  const state = real.optimizers[indexOf(world, optimizer)]!.stateDict();
  real.saves.push(asBytes ? real.library.encodeCheckpoint(state) : state);
  world.saves.push(worldSave(optimizer));
}

export function worldSave(optimizer: WorldOptimizer): WorldSave {
  const { className, defaults, steps } = optimizer;
  return {
    ...{ className, defaults, steps },
    layers: optimizer.layers.map(({ parameter, steps: count, momentum, history }) => ({
      name: parameter.name,
      shape: [...parameter.shape],
      steps: count,
      momentum: copyOfMomentum(momentum),
      history: history?.slice() ?? null,
      weights: parameter.weights.values.slice(),
    })),
  };
}

/** A save as loadStateDict takes it. */
export function stateOf(real: Real, save: number): StateDict {
  const saved = real.saves[save]!;
  return saved instanceof Uint8Array ? real.library.decodeCheckpoint(saved) : saved;
}

/** The saved state of each layer: by name where all have distinct ones, else by position; or what is wrong. */
export function matched(optimizer: WorldOptimizer, save: WorldSave): SavedLayer[] | string {
  const { layers } = optimizer;
  if (layers.length !== save.layers.length) return "layers";
  const areNamed = [
    layers.map(({ parameter }) => parameter.name),
    save.layers.map(({ name }) => name),
  ].every((names) => !names.includes(null) && new Set(names).size === names.length);
  const found: SavedLayer[] = [];
  for (const [index, layer] of layers.entries()) {
    const { name, shape } = layer.parameter;
    const saved = areNamed ? save.layers.find((other) => other.name === name) : save.layers[index];
    if (saved?.shape.join() !== shape.join()) return JSON.stringify(labelOf(optimizer, layer));
    found.push(saved);
  }
  return found;
}

export function load(world: World, real: Real, optimizer: WorldOptimizer, index: number): void {
  const save = world.saves[index]!;
  const actual = real.optimizers[indexOf(world, optimizer)]!;
  const call = (): ReturnType<typeof actual.loadStateDict> =>
    actual.loadStateDict(stateOf(real, index));
  if (optimizer.isDisposed) {
    demandRefusal(call, ["disposed"], "loadStateDict after dispose()");
    return;
  }
  const states = matched(optimizer, save);
  if (typeof states === "string") {
    // Names or shapes that do not fit: several layers may be named, the first or another one.
    const labels = optimizer.layers.map((layer) => JSON.stringify(labelOf(optimizer, layer)));
    demandRefusal(call, states === "layers" ? ["layers"] : labels, "loadStateDict");
    return;
  }
  const { converted } = call();
  const state = actual.stateDict();
  const expected = optimizer.layers.flatMap((layer, position) => {
    adoptLoaded(layer, states[position]!, state.layers[position]!);
    const from = states[position]!.momentum?.kind ?? "none";
    const to = layer.momentum?.kind ?? "none";
    return from === to ? [] : [{ layer: labelOf(optimizer, layer), from, to }];
  });
  demand(
    JSON.stringify(converted) === JSON.stringify(expected),
    () => `loadStateDict: converted ${JSON.stringify(converted)}`,
  );
  optimizer.steps = save.steps;
}

export function adoptLoaded(
  layer: WorldLayer,
  saved: SavedLayer,
  actual: StateDict["layers"][number],
): void {
  const { size } = layer.parameter;
  const { momentum } = actual;
  const wanted = saved.momentum === null ? "none" : wantedKind(layer.group.options, size);
  demand((momentum?.kind ?? "none") === wanted, () => {
    return `loaded: momentum ${momentum?.kind ?? "none"}, expected ${wanted}`;
  });
  if (momentum === null || saved.momentum === null || momentum.kind === saved.momentum.kind) {
    layer.momentum = wanted === "none" ? null : copyOfMomentum(saved.momentum);
  } else {
    const values = valuesOf(saved.momentum, size);
    // One rounding to float32, of a value or of a quotient.
    const tolerance = 2e-7 * values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    demandMomentum(momentum, values, tolerance, "loaded");
    layer.momentum = copyOfMomentum(momentum);
  }
  layer.steps = saved.steps;
  layer.history = saved.history?.slice() ?? null;
}

export function runLoadNew(
  { save: pick, isAllocated }: Command & { kind: "loadNew" },
  world: World,
  real: Real,
): void {
  const index = pick % world.saves.length;
  const save = world.saves[index]!;
  const parameters = save.layers.map(({ name, shape, weights }, position) =>
    addParameter(world, real, {
      ...{ name, shape, size: weights.length, fate: "alive", gradient: null },
      origin: isAllocated === (position % 2 === 0) ? "allocated" : "plain",
      weights: { values: weights.slice() },
    }),
  );
  const optimizer: WorldOptimizer = {
    ...{ className: save.className, defaults: save.defaults, steps: 0, isDisposed: false },
    ...{ groups: [{ options: save.defaults }], layers: [] },
  };
  addLayers(optimizer, optimizer.groups[0]!, parameters);
  const groups = [{ params: parameters, options: {} }];
  real.optimizers.push(construct(real, save.className, groups, save.defaults));
  world.optimizers.push(optimizer);
  load(world, real, optimizer, index);
}
