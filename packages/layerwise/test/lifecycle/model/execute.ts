/** Runs a command on the program and on the world, and compares them. */
import type { StateDict, StepReport } from "../../../src/index.js";
import { randomArray } from "../../helpers/random.js";
import { valuesOf, wrongCodes } from "./codes.js";
import type { Command, Values } from "./command.js";
import { expectedStep } from "./expected-step.js";
import type { ExpectedLayer } from "./expected-step.js";
import {
  asGiven,
  construct,
  detach,
  makeParameter,
  realOf,
  resizableArray,
  resize,
} from "./real.js";
import type { Real } from "./real.js";
import { demand, demandSame, verify } from "./verify.js";
import { copyOfMomentum, labelOf, rateOf, wantedKind, wrongOption } from "./world.js";
import type {
  Cell,
  SavedLayer,
  World,
  WorldGroup,
  WorldLayer,
  WorldMomentum,
  WorldOptimizer,
  WorldOptions,
  WorldParameter,
  WorldSave,
} from "./world.js";

const MOST_PARAMETERS = 10;
const MOST_OPTIMIZERS = 4;
const MOST_ELEMENTS = 800_000;

function at<Item>(items: readonly Item[], pick: number): Item | undefined {
  return items.length === 0 ? undefined : items[pick % items.length];
}

function isAlive({ fate }: WorldParameter): boolean {
  return fate === "alive";
}

function alive(world: World): WorldParameter[] {
  return world.parameters.filter(isAlive);
}

function isDead({ parameter }: WorldLayer): boolean {
  return parameter.fate === "disposed" || parameter.fate === "detached";
}

/**
 * Parameters by picks: each array once, since one optimizer that steps an array twice is the caller's mistake.
 *
 * @param taken arrays that the optimizer has already
 */
function picked(
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

function optimizerAt(world: World, pick: number): WorldOptimizer | undefined {
  return at(world.optimizers, pick);
}

function indexOf(world: World, optimizer: WorldOptimizer): number {
  return world.optimizers.indexOf(optimizer);
}

function drawn({ seed, scale, zeros }: Values, size: number): Float32Array {
  return randomArray(size, seed, { scale, zeros });
}

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
    case "disposeParameter":
    case "spoilGradient":
      return alive(world).length > 0;
    case "resize":
      return resizables(world).length > 0;
    case "detach":
      return detachables(world).length > 0;
  }
}

/** What a group should add; with a mistake in it, one that the optimizer has already. */
function added(
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

function resizables(world: World): WorldParameter[] {
  return alive(world).filter(({ origin }) => origin === "resizable");
}

function detachables(world: World): WorldParameter[] {
  return alive(world).filter(({ origin, weights }) => {
    const owners = world.parameters.filter((other) => other.weights === weights);
    return owners.length === 1 && ["plain", "subarray", "resizable"].includes(origin);
  });
}

/** Runs a command on both, and compares all that can be seen afterwards. @throws Mismatch */
export function execute(command: Command, world: World, real: Real): void {
  run(command, world, real);
  verify(world, real);
}

function run(command: Command, world: World, real: Real): void {
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
      disposeParameter(world, real, at(alive(world), command.pick)!);
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

function named(world: World, isNamed: boolean): Pick<WorldParameter, "name"> {
  return { name: isNamed ? `p${world.parameters.length}` : null };
}

function addParameter(
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

/** Runs what must throw. @returns the error's message */
function refusal(call: () => unknown, what: string): string {
  try {
    call();
  } catch (error) {
    demand(error instanceof Error, () => `${what}: threw ${String(error)}`);
    return error.message;
  }
  demand(false, () => `${what}: no error`);
}

/** What must throw, with one of these words in the message. */
function demandRefusal(call: () => unknown, words: readonly string[], what: string): void {
  const message = refusal(call, what);
  demand(
    words.some((word) => message.includes(word)),
    () => `${what}: the error names none of ${words.join(", ")}: ${message}`,
  );
}

function groupOptions(defaults: WorldOptions, given: Partial<WorldOptions>): WorldOptions {
  return { ...defaults, ...given };
}

function runConstruct(
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

function addLayers(
  optimizer: WorldOptimizer,
  group: WorldGroup,
  params: readonly WorldParameter[],
): void {
  for (const parameter of params) {
    optimizer.layers.push({ parameter, group, steps: 0, momentum: null, history: null });
  }
}

function runAddGroup(command: Command & { kind: "addGroup" }, world: World, real: Real): void {
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

/** Puts a gradient into a parameter of both, in an array that the caller makes. */
function setOwnGradient(real: Real, parameter: WorldParameter, values: Float32Array): void {
  const cell: Cell = { values };
  const array = values.slice();
  parameter.gradient = cell;
  real.arrays.set(cell, array);
  realOf(real, parameter).grad = array;
}

function setNoGradient(real: Real, parameter: WorldParameter): void {
  parameter.gradient = null;
  realOf(real, parameter).grad = null;
}

/** Fills the gradient, as a backward pass does; where there is none, makes one. */
function fillGradient(real: Real, parameter: WorldParameter, values: Float32Array): void {
  if (parameter.gradient === null) {
    setOwnGradient(real, parameter, values);
  } else {
    parameter.gradient.values.set(values);
    realOf(real, parameter).grad!.set(values);
  }
}

function runSetGradient(
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

function runStep(
  { optimizer: pick, values, gradScale }: Command & { kind: "step" },
  world: World,
  real: Real,
): void {
  const optimizer = optimizerAt(world, pick)!;
  const actual = real.optimizers[indexOf(world, optimizer)]!;
  if (optimizer.isDisposed) {
    demandRefusal(() => actual.step(), ["disposed"], "step after dispose()");
    return;
  }
  if (values !== null) {
    optimizer.layers.forEach(({ parameter }, index) => {
      // Every seventh layer is left as it is: without gradient, or with the last one.
      if (!isAlive(parameter) || (values.seed + index) % 7 === 0) return;
      const own = { ...values, seed: values.seed + 7919 * index };
      fillGradient(real, parameter, drawn(own, parameter.size));
    });
  }
  step(world, real, optimizer, gradScale);
}

function step(world: World, real: Real, optimizer: WorldOptimizer, gradScale: number): void {
  const actual = real.optimizers[indexOf(world, optimizer)]!;
  const expected = expectedStep(optimizer, gradScale);
  if (expected.some(hasRunAway)) return;
  let report: StepReport;
  try {
    report = actual.step({ gradScale });
  } catch (error) {
    // A layer whose array is gone may be refused or, without gradient, be left alone.
    const dead = optimizer.layers.filter(isDead).map((layer) => labelOf(optimizer, layer));
    const { message } = error as Error;
    demand(
      dead.some((label) => message.includes(JSON.stringify(label))),
      () => `step: ${message}`,
    );
    return;
  }
  demandReport(report, optimizer, expected);
  const state = actual.stateDict();
  for (const layer of expected) adoptLayer(layer, optimizer, state, real);
  optimizer.steps++;
}

/** Rates and ratios are drawn at random, and weights may grow without limit: such a step is not made. */
function hasRunAway({ weights, momentum, report }: ExpectedLayer): boolean {
  const most = 1e12;
  const isLarge = (value: number): boolean => !(Math.abs(value) < most);
  return report.updateNorm > most || weights.some(isLarge) || (momentum?.some(isLarge) ?? false);
}

function near(actual: number, expected: number, relative: number): boolean {
  return Math.abs(actual - expected) <= relative * Math.max(Math.abs(expected), 1e-30);
}

function demandReport(
  report: StepReport,
  optimizer: WorldOptimizer,
  expected: readonly ExpectedLayer[],
): void {
  demand(report.step === optimizer.steps + 1, () => `report: step ${report.step}`);
  const lr = rateOf(optimizer.groups[0]!.options.lr, optimizer.steps);
  demand(report.lr === lr, () => `report: lr ${report.lr}, expected ${lr}`);
  demand(!report.skipped, () => "report: skipped");
  demand(report.layers.length === expected.length, () => `report: ${report.layers.length} layers`);
  expected.forEach(({ layer, report: wanted, normTolerance }, index) => {
    const got = report.layers[index]!;
    demand(got.name === labelOf(optimizer, layer), () => `report: ${got.name}`);
    for (const field of ["weightNorm", "gradNorm", "clipScale"] as const) {
      // Sums of squares in float64; the clipping scale is a quotient of them.
      demand(near(got[field], wanted[field], 2e-6), () => {
        return `report of ${got.name}: ${field} ${got[field]}, expected ${wanted[field]}`;
      });
    }
    for (const field of ["updateNorm", "trustRatio"] as const) {
      demand(near(got[field], wanted[field], 2 * normTolerance + quantized(layer)), () => {
        return `report of ${got.name}: ${field} ${got[field]}, expected ${wanted[field]}`;
      });
    }
  });
}

/** Momentum that is being quantised may enter the update before or after. */
function quantized({ momentum, group, parameter }: WorldLayer): number {
  const kind = wantedKind(group.options, parameter.size);
  return momentum?.kind === "float32" && kind === "blockwise" ? 0.1 : 0;
}

/** Checks what a step has made of a layer, and takes it over with all its bits. */
function adoptLayer(
  expected: ExpectedLayer,
  optimizer: WorldOptimizer,
  state: StateDict,
  real: Real,
): void {
  const { layer } = expected;
  const { parameter } = layer;
  const label = labelOf(optimizer, layer);
  const { data } = realOf(real, parameter);
  demandNear(data, expected.weights, expected.weightTolerance, `step of ${label}: weights`);
  const saved = state.layers[optimizer.layers.indexOf(layer)]!;
  const { momentum } = saved;
  demand((momentum?.kind ?? "none") === expected.kind, () => {
    return `step of ${label}: momentum ${momentum?.kind ?? "none"}, expected ${expected.kind}`;
  });
  if (momentum !== null && expected.momentum !== null) {
    const what = `step of ${label}`;
    const untouched = demandUntouchedBlocks(layer, momentum, what);
    demandMomentum(momentum, expected.momentum, expected.momentumTolerance, what, untouched);
  }
  if (expected.history !== null) {
    const { gradientHistory: history } = saved;
    demand(history?.length === 100, () => `step of ${label}: no history`);
    expected.history.forEach((value, slot) => {
      // Squares of sums in float64.
      demand(near(history![slot]!, value, 4e-6), () => {
        return `step of ${label}: history ${slot} is ${history![slot]}, expected ${value}`;
      });
    });
  }
  demand(saved.step === layer.steps + 1, () => `step of ${label}: count ${saved.step}`);
  parameter.weights.values.set(data);
  layer.momentum = copyOfMomentum(momentum);
  layer.history = saved.gradientHistory?.slice() ?? null;
  layer.steps++;
}

function demandNear(
  actual: Float32Array,
  expected: Float64Array,
  tolerance: number,
  what: string,
): void {
  demand(actual.length === expected.length, () => `${what}: ${actual.length} elements`);
  for (let i = 0; i < expected.length; i++) {
    if (Math.abs(actual[i]! - expected[i]!) <= tolerance) continue;
    demand(
      false,
      () => `${what}: element ${i} is ${actual[i]}, expected ${expected[i]} ± ${tolerance}`,
    );
  }
}

/**
 * Under skipZeros a block of codes without a gradient stays as it is: quantised again it would drift, since -1 has no
 * code.
 *
 * @returns these blocks
 */
function demandUntouchedBlocks(layer: WorldLayer, after: WorldMomentum, what: string): Set<number> {
  const { momentum: before, group, parameter } = layer;
  const untouched = new Set<number>();
  if (!group.options.skipZeros || before?.kind !== "blockwise" || after.kind !== "blockwise") {
    return untouched;
  }
  const gradient = parameter.gradient!.values;
  before.absmax.forEach((absmax, block) => {
    const [start, end] = [256 * block, 256 * (block + 1)];
    if (gradient.subarray(start, end).some((value) => value !== 0)) return;
    untouched.add(block);
    demand(absmax === after.absmax[block], () => `${what}: block ${block} without gradient`);
    const codes = [before, after].map((momentum) => momentum.codes.subarray(start, end));
    demandSame(codes[1]!, codes[0]!, `${what}: block ${block} without gradient`);
  });
  return untouched;
}

function demandMomentum(
  momentum: WorldMomentum,
  expected: Float64Array,
  tolerance: number,
  what: string,
  untouched: ReadonlySet<number> = new Set(),
): void {
  if (momentum.kind === "float32") {
    demandNear(momentum.values, expected, tolerance, `${what}: momentum`);
  } else {
    const wrong = wrongCodes(momentum, expected, tolerance, untouched);
    demand(wrong === null, () => `${what}: ${String(wrong)}`);
  }
}

/** A gradient that is not finite: an error that names the layer, or a step that is skipped. */
function runNonFinite(
  { optimizer: pick, layer: layerPick, at: element, value }: Command & { kind: "nonFinite" },
  world: World,
  real: Real,
): void {
  const optimizer = optimizerAt(world, pick)!;
  const actual = real.optimizers[indexOf(world, optimizer)]!;
  const layer = at(
    optimizer.layers.filter(({ parameter }) => parameter.gradient !== null),
    layerPick,
  );
  if (layer === undefined) return;
  const { parameter } = layer;
  const { grad } = realOf(real, parameter);
  const index = element % parameter.size;
  const before = grad![index]!;
  grad![index] = value;
  const broken = optimizer.layers.filter(
    (other) => other.parameter.gradient === parameter.gradient,
  );
  const thrower = broken.find(({ group }) => group.options.nonFinite === "throw");
  if (thrower !== undefined) {
    const label = JSON.stringify(labelOf(optimizer, thrower));
    demandRefusal(() => actual.step(), [label], "step with a gradient that is not finite");
  } else {
    const report = actual.step();
    demand(report.skipped && report.step === optimizer.steps, () => "a step was not skipped");
  }
  grad![index] = before;
}

type Settable = Record<string, unknown>;

function setOn(real: Real, world: World, optimizer: WorldOptimizer, group: number): Settable {
  return real.optimizers[indexOf(world, optimizer)]!.paramGroups[group] as unknown as Settable;
}

function runSetOption(
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
function runWrongOption(
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

function runSave(
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
function matched(optimizer: WorldOptimizer, save: WorldSave): SavedLayer[] | string {
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

function adoptLoaded(
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

function runLoadNew(
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

/** After dispose() everything but dispose() is an error. */
function demandDisposed(world: World, real: Real, optimizer: WorldOptimizer): void {
  const actual = real.optimizers[indexOf(world, optimizer)]!;
  demandRefusal(() => actual.step(), ["disposed"], "step after dispose()");
  demandRefusal(() => actual.stateDict(), ["disposed"], "stateDict after dispose()");
  actual.dispose();
}

function disposeParameter(world: World, real: Real, parameter: WorldParameter): void {
  const actual = realOf(real, parameter);
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

/** The layers of living optimizers that step on a parameter, as errors name them. */
function steppers(world: World, parameter: WorldParameter): [WorldOptimizer, string][] {
  if (parameter.gradient === null) return [];
  return world.optimizers.flatMap((optimizer): [WorldOptimizer, string][] => {
    const layer = optimizer.layers.find((other) => other.parameter === parameter);
    if (layer === undefined || optimizer.isDisposed || optimizer.layers.some(isDead)) return [];
    return [[optimizer, labelOf(optimizer, layer)]];
  });
}

/** Every optimizer refuses to step on a parameter, by its name. */
function demandRefusedSteps(
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

function runResize({ pick, to }: Command & { kind: "resize" }, world: World, real: Real): void {
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

function runDetach({ pick }: Command & { kind: "detach" }, world: World, real: Real): void {
  const parameter = at(detachables(world), pick)!;
  detach(real.arrays.get(parameter.weights)!);
  demandRefusedSteps(world, real, parameter, "detached data");
  parameter.fate = "detached";
  setNoGradient(real, parameter);
}

/** A gradient that can't be right: refused by name; afterwards the parameter has its old one again. */
function runSpoilGradient(
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

function runAccumulate(
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

function runWrongAccumulate(
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
    demandRefusal(() => accumulate(actual, longer), [name], "accumulate: length");
  } else if (how === "type") {
    demandRefusal(() => accumulate(actual, [...good] as never), [name], "accumulate: type");
  } else if (how === "scale") {
    demandRefusal(() => accumulate(actual, good, Infinity), ["scale"], "accumulate: scale");
  } else {
    const wrong = how === "grad type" ? new Float64Array(size) : new Float32Array(size + 1);
    actual.grad = wrong as never;
    demandRefusal(() => accumulate(actual, good), [name, "grad"], `accumulate: ${how}`);
    demand(
      wrong.every((value) => value === 0),
      () => "accumulate: wrote into a wrong gradient",
    );
  }
  actual.grad = before;
}

/** Gives everything back. */
export function disposeAll(world: World, real: Real): void {
  for (const optimizer of real.optimizers) optimizer.dispose();
  for (const { parameter } of real.parameters.values()) parameter.dispose();
  for (const optimizer of world.optimizers) optimizer.isDisposed = true;
}
