/** Runs a command on the program and on the world, and compares them. */
import { runAccumulate, runWrongAccumulate } from "./accumulate.js";
import type { Command } from "./command.js";
import {
  added,
  alive,
  at,
  detachables,
  disposables,
  drawn,
  indexOf,
  isAlive,
  optimizerAt,
  picked,
  resizables,
  isDead,
} from "./lookup.js";
import {
  demandDisposed,
  runAddGroup,
  runConstruct,
  runSetOption,
  runWrongOption,
} from "./optimizers.js";
import { addParameter, disposeParameter, runSetGradient, named } from "./parameters.js";
import type { Real } from "./real.js";
import { load, runLoadNew, runSave } from "./saves.js";
import { runDetach, runResize, runSpoilGradient } from "./spoiled-arrays.js";
import { runNonFinite, runStep } from "./steps.js";
import { verify } from "./verify.js";
import type { World } from "./world.js";

const MOST_PARAMETERS = 10;
const MOST_OPTIMIZERS = 4;
const MOST_ELEMENTS = 800_000;

/** Whether a command can be run; misuse can always be. */
export function canRun(command: Command, world: World): boolean {
  switch (command.kind) {
    case "allocate":
    case "wrap":
      return (
        world.parameters.length < MOST_PARAMETERS &&
        world.parameters.reduce((sum, { size }) => sum + size, command.size) < MOST_ELEMENTS
      );
    case "tie":
      return world.parameters.length < MOST_PARAMETERS && alive(world).length > 0;
    case "construct":
      return world.optimizers.length < MOST_OPTIMIZERS && picked(world, command.picks).length > 0;
    case "addGroup": {
      const optimizer = optimizerAt(world, command.optimizer);
      if (optimizer === undefined) return false;
      return added(world, optimizer, command).length > 0;
    }
    case "loadNew": {
      const save = at(world.saves, command.save);
      return (
        save !== undefined &&
        world.optimizers.length < MOST_OPTIMIZERS &&
        world.parameters.length + save.layers.length <= MOST_PARAMETERS
      );
    }
    case "loadOld": {
      const optimizer = optimizerAt(world, command.optimizer);
      const hasSave = world.saves.length > 0;
      return hasSave && (optimizer?.layers.every(({ parameter }) => isAlive(parameter)) ?? false);
    }
    case "save":
    case "step":
    case "setOption":
    case "wrongOption":
    case "zeroGrad":
    case "disposeOptimizer":
      return world.optimizers.length > 0;
    case "nonFinite": {
      const optimizer = optimizerAt(world, command.optimizer);
      return optimizer !== undefined && !optimizer.isDisposed && !optimizer.layers.some(isDead);
    }
    case "setGradient":
    case "accumulate":
    case "wrongAccumulate":
    case "spoilGradient":
      return alive(world).length > 0;
    case "disposeParameter":
      return disposables(world).length > 0;
    case "resize":
      return resizables(world).length > 0;
    case "detach":
      return detachables(world).length > 0;
  }
}

/** Runs a command on both, and compares all that can be seen afterwards. @throws Mismatch */
export function execute(command: Command, world: World, real: Real): void {
  run(command, world, real);
  verify(world, real);
}

export function run(command: Command, world: World, real: Real): void {
  switch (command.kind) {
    case "allocate":
    case "wrap": {
      const origin = command.kind === "wrap" ? command.origin : "allocated";
      addParameter(world, real, {
        ...named(world, command.isNamed),
        ...{ shape: [command.size], size: command.size, origin, fate: "alive" },
        ...{ weights: { values: drawn(command.values, command.size) }, gradient: null },
      });
      return;
    }
    case "tie": {
      const owner = at(alive(world), command.pick)!;
      addParameter(world, real, {
        ...named(world, command.isNamed),
        ...{ shape: owner.shape, size: owner.size, origin: "tied", fate: "alive" },
        ...{ weights: owner.weights, gradient: null },
      });
      return;
    }
    case "construct":
      runConstruct(command, world, real);
      return;
    case "addGroup":
      runAddGroup(command, world, real);
      return;
    case "setGradient":
      runSetGradient(command, world, real);
      return;
    case "step":
      runStep(command, world, real);
      return;
    case "nonFinite":
      runNonFinite(command, world, real);
      return;
    case "setOption":
      runSetOption(command, world, real);
      return;
    case "wrongOption":
      runWrongOption(command, world, real);
      return;
    case "save":
      runSave(command, world, real);
      return;
    case "loadOld":
      load(world, real, optimizerAt(world, command.optimizer)!, command.save % world.saves.length);
      return;
    case "loadNew":
      runLoadNew(command, world, real);
      return;
    case "disposeParameter":
      disposeParameter(world, real, at(disposables(world), command.pick)!);
      return;
    case "disposeOptimizer": {
      const optimizer = optimizerAt(world, command.optimizer)!;
      real.optimizers[indexOf(world, optimizer)]!.dispose();
      optimizer.isDisposed = true;
      demandDisposed(world, real, optimizer);
      return;
    }
    case "resize":
      runResize(command, world, real);
      return;
    case "detach":
      runDetach(command, world, real);
      return;
    case "spoilGradient":
      runSpoilGradient(command, world, real);
      return;
    case "accumulate":
      runAccumulate(command, world, real);
      return;
    case "wrongAccumulate":
      runWrongAccumulate(command, world, real);
      return;
    case "zeroGrad": {
      const optimizer = optimizerAt(world, command.optimizer)!;
      if (optimizer.isDisposed) return;
      real.optimizers[indexOf(world, optimizer)]!.zeroGrad();
      for (const { parameter } of optimizer.layers) parameter.gradient?.values.fill(0);
    }
  }
}

/** Gives everything back. */
export function disposeAll(world: World, real: Real): void {
  for (const optimizer of real.optimizers) optimizer.dispose();
  for (const { parameter } of real.parameters.values()) parameter.dispose();
  for (const optimizer of world.optimizers) optimizer.isDisposed = true;
}
