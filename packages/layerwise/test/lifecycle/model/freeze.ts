/** From one process to the next: a program is saved as a user saves it, and goes on elsewhere. */
import type { Command } from "./command.js";
import { canRun, execute } from "./execute.js";
import { construct, emptyReal, makeParameter, realOf } from "./real.js";
import type { Library, Real } from "./real.js";
import { worldSave } from "./saves.js";
import { demand, demandSame, demandSameSave, verify } from "./verify.js";
import type { World, WorldOptimizer, WorldParameter } from "./world.js";

/** All that the second process gets; it can be serialised. */
export interface Frozen {
  kernel: Real["kernel"];
  world: World;
  /** A checkpoint of each optimizer, with the weights of its layers beside the state. */
  checkpoints: Uint8Array[];
  saves: Uint8Array[];
  /** What the second process does. */
  commands: Command[];
}

function tensorName(index: number): string {
  return `weights ${index}`;
}

/** Saves a program. What was disposed of or detached, and optimizers that need it, stay behind. */
export function freeze(world: World, real: Real, commands: Command[]): Frozen {
  const isAlive = ({ fate }: WorldParameter): boolean => fate === "alive";
  const going = world.optimizers.filter(
    ({ isDisposed, layers }) => !isDisposed && layers.every(({ parameter }) => isAlive(parameter)),
  );
  const { encodeCheckpoint } = real.library;
  return {
    kernel: real.kernel,
    world: {
      parameters: world.parameters.filter(isAlive),
      optimizers: going,
      saves: world.saves,
    },
    checkpoints: going.map((optimizer) => {
      const tensors = optimizer.layers.map(({ parameter }, index): [string, Tensor] => [
        tensorName(index),
        { shape: parameter.shape, data: realOf(real, parameter).data },
      ]);
      const state = real.optimizers[world.optimizers.indexOf(optimizer)]!.stateDict();
      return encodeCheckpoint(state, { tensors: Object.fromEntries(tensors) });
    }),
    saves: real.saves.map((save) => (save instanceof Uint8Array ? save : encodeCheckpoint(save))),
    commands,
  };
}

interface Tensor {
  shape: readonly number[];
  data: Float32Array;
}

/** The gradient that a parameter had: its own, one that it shares, or none. */
function restoreGradient(real: Real, parameter: WorldParameter): void {
  const { gradient } = parameter;
  const actual = realOf(real, parameter);
  if (gradient === null) {
    actual.grad = null;
    return;
  }
  const known = real.arrays.get(gradient);
  if (known === undefined) real.arrays.set(gradient, gradient.values.slice());
  else known.set(gradient.values);
  actual.grad = real.arrays.get(gradient)!;
}

function restoreOptimizer(
  real: Real,
  optimizer: WorldOptimizer,
  checkpoint: Uint8Array,
  what: string,
): void {
  const groups = optimizer.groups.map((group) => ({
    params: optimizer.layers
      .filter((layer) => layer.group === group)
      .map(({ parameter }) => parameter),
    options: group.options,
  }));
  const actual = construct(real, optimizer.className, groups, optimizer.defaults);
  real.optimizers.push(actual);
  const { tensors = {}, ...state } = real.library.decodeCheckpoint(checkpoint);
  demandSameSave(state, worldSave(optimizer), `${what}: the file`);
  optimizer.layers.forEach(({ parameter }, index) => {
    const { data } = tensors[tensorName(index)]!;
    demandSame(data, parameter.weights.values, `${what}: the file's weights ${index}`);
    realOf(real, parameter).data.set(data);
  });
  const { converted } = actual.loadStateDict(state);
  // Options that were changed since a layer's last step are in force: its momentum is converted now.
  optimizer.layers.forEach((layer, index) => {
    const label = layer.parameter.name ?? `layer ${index}`;
    const conversion = converted.find((entry) => entry.layer === label);
    demand(
      conversion === undefined || layer.momentum !== null,
      () => `${what}: converted ${label}`,
    );
    if (conversion !== undefined) layer.momentum = actual.stateDict().layers[index]!.momentum;
  });
}

/** Goes on with a saved program. @throws Mismatch */
export function resume(
  { kernel, world, checkpoints, saves, commands }: Frozen,
  library: Library,
): void {
  const real = emptyReal(library, kernel);
  for (const parameter of world.parameters) makeParameter(real, parameter, world);
  for (const parameter of world.parameters) restoreGradient(real, parameter);
  world.optimizers.forEach((optimizer, index) => {
    restoreOptimizer(real, optimizer, checkpoints[index]!, `optimizer ${index}`);
  });
  real.saves.push(...saves);
  verify(world, real);
  for (const command of commands) if (canRun(command, world)) execute(command, world, real);
}
