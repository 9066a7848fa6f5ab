/** Whether the program is what the world says, to the bit: nothing but what a command is for may have changed. */
import type { LARS, LayerState, Momentum, StateDict } from "../../../src/index.js";
import { guardsOf, GUARD, realOf } from "./real.js";
import type { Real } from "./real.js";
import { labelOf, rateOf } from "./world.js";
import type { SavedLayer, World, WorldMomentum, WorldOptimizer, WorldSave } from "./world.js";

/** Fails a run; fast-check prints the commands that lead here. */
export class Mismatch extends Error {
  override readonly name = "Mismatch";
}

export function demand(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new Mismatch(message());
}

type Numbers = Float32Array | Float64Array | Uint8Array;

function bytesOf(array: Numbers): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}

export function demandSame(actual: Numbers, expected: Numbers, what: string): void {
  demand(actual.length === expected.length, () => {
    return `${what}: ${actual.length} elements, expected ${expected.length}`;
  });
  if (bytesOf(actual).equals(bytesOf(expected))) return;
  const at = expected.findIndex((value, index) => !Object.is(value, actual[index]));
  demand(false, () => `${what}: element ${at} is ${actual[at]}, expected ${expected[at]}`);
}

function demandSameMomentum(
  actual: Momentum | null,
  expected: WorldMomentum | null,
  what: string,
): void {
  demand(
    actual?.kind === expected?.kind,
    () => `${what}: momentum ${actual?.kind ?? "none"}, expected ${expected?.kind ?? "none"}`,
  );
  if (actual?.kind === "float32" && expected?.kind === "float32") {
    demandSame(actual.values, expected.values, `${what}: momentum`);
  }
  if (actual?.kind === "blockwise" && expected?.kind === "blockwise") {
    demandSame(actual.codes, expected.codes, `${what}: codes`);
    demandSame(actual.absmax, expected.absmax, `${what}: absmax`);
  }
}

function demandSameLayer(
  actual: LayerState,
  expected: Omit<SavedLayer, "weights">,
  what: string,
): void {
  demand(
    actual.name === expected.name &&
      actual.step === expected.steps &&
      actual.shape.join() === expected.shape.join(),
    () =>
      `${what}: ${String(actual.name)} [${actual.shape.join()}] at step ${actual.step}, expected ${String(expected.name)} [${expected.shape.join()}] at step ${expected.steps}`,
  );
  demandSameMomentum(actual.momentum, expected.momentum, what);
  demand((actual.gradientHistory === null) === (expected.history === null), () => {
    return `${what}: a clipping history ${expected.history === null ? "too many" : "is missing"}`;
  });
  if (actual.gradientHistory !== null && expected.history !== null) {
    demandSame(actual.gradientHistory, expected.history, `${what}: history`);
  }
}

export function demandSameSave(actual: StateDict, expected: WorldSave, what: string): void {
  demand(actual.step === expected.steps, () => `${what}: at step ${actual.step}`);
  demand(actual.layers.length === expected.layers.length, () => `${what}: number of layers`);
  actual.layers.forEach((layer, index) => {
    demandSameLayer(layer, expected.layers[index]!, `${what}, layer ${index}`);
  });
}

function stateBytes(optimizer: WorldOptimizer): number {
  return optimizer.layers.reduce((sum, { momentum, history }) => {
    const ofMomentum =
      momentum === null
        ? 0
        : momentum.kind === "float32"
          ? momentum.values.byteLength
          : momentum.codes.byteLength + momentum.absmax.byteLength;
    return sum + ofMomentum + (history?.byteLength ?? 0);
  }, 0);
}

function verifyOptimizer(optimizer: WorldOptimizer, actual: LARS, what: string, real: Real): void {
  if (optimizer.isDisposed) return;
  const state = actual.stateDict();
  demand(state.step === optimizer.steps, () => `${what}: ${state.step}, not ${optimizer.steps}`);
  demand(state.layers.length === optimizer.layers.length, () => `${what}: number of layers`);
  optimizer.layers.forEach((layer, index) => {
    const { name, shape } = layer.parameter;
    const { steps, momentum, history } = layer;
    demandSameLayer(
      state.layers[index]!,
      { name, shape, steps, momentum, history },
      `${what}, ${labelOf(optimizer, layer)}`,
    );
  });
  const bytes = stateBytes(optimizer);
  demand(
    actual.stateBytes === bytes,
    () => `${what}: stateBytes ${actual.stateBytes}, not ${bytes}`,
  );
  demand(actual.paramGroups.length === optimizer.groups.length, () => `${what}: number of groups`);
  optimizer.groups.forEach(({ options }, index) => {
    const { lr, ...rest } = options;
    const group = actual.paramGroups[index]! as unknown as Record<string, unknown>;
    for (const [option, value] of Object.entries(rest)) {
      const isSame =
        option === "trustRatio"
          ? sameFields(group[option], value)
          : Object.is(group[option], value);
      demand(
        isSame,
        () => `${what}, group ${index}: ${option} is ${JSON.stringify(group[option])}`,
      );
    }
    const rate = group.lr as number | ((step: number) => number);
    const actualRate = typeof rate === "number" ? rate : rate(3);
    demand(actualRate === rateOf(lr, 3), () => `${what}, group ${index}: lr`);
  });
  const { kernel } = actual as { kernel?: unknown };
  demand(kernel === undefined || kernel === real.kernel.kernel, () => `${what}: ${String(kernel)}`);
}

function sameFields(a: unknown, b: unknown): boolean {
  const sorted = (value: unknown): unknown => Object.entries(value as object).sort();
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

/** Compares everything that the program can see. */
export function verify(world: World, real: Real): void {
  world.parameters.forEach((parameter, index) => {
    const { name, weights, gradient, fate, origin } = parameter;
    const what = `parameter ${name ?? String(index)}`;
    const actual = realOf(real, parameter);
    const { whole } = real.parameters.get(parameter)!;
    if (whole !== null && whole.length > 0) {
      demand(
        guardsOf(whole).every((value) => value === Math.fround(GUARD)),
        () => `${what}: written beside its subarray`,
      );
    }
    if (fate === "alive") demandSame(actual.data, weights.values, `${what}: weights`);
    if (fate === "disposed" && origin === "allocated") {
      demand(actual.data.length === 0, () => `${what}: data after dispose()`);
    }
    // The caller's own array stays as it is.
    if (fate === "disposed" && origin !== "allocated" && origin !== "tied") {
      demandSame(real.arrays.get(weights)!, weights.values, `${what}: the caller's array`);
    }
    demand((actual.grad === null) === (gradient === null), () => {
      return `${what}: grad is ${actual.grad === null ? "null" : "not null"}`;
    });
    if (gradient !== null) demandSame(actual.grad!, gradient.values, `${what}: gradient`);
  });
  world.optimizers.forEach((optimizer, index) => {
    verifyOptimizer(optimizer, real.optimizers[index]!, `optimizer ${index}`, real);
  });
}
