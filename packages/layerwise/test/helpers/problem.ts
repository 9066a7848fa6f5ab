/** Small problems to step on, and what is left of them afterwards. */
import { Parameter } from "../../src/index.js";
import type { LARS, LayerState, Momentum, StateDict } from "../../src/index.js";
import { expectSameBits } from "./numbers.js";
import { randomArray } from "./random.js";

/** A parameter on the given values, which are copied, with a gradient if one is given. */
export function parameterOf(
  values: ArrayLike<number>,
  { grad, name, shape }: { grad?: ArrayLike<number>; name?: string; shape?: number[] } = {},
): Parameter {
  const parameter = new Parameter(Float32Array.from(values), {
    ...(name === undefined ? {} : { name }),
    ...(shape === undefined ? {} : { shape }),
  });
  if (grad !== undefined) parameter.grad = Float32Array.from(grad);
  return parameter;
}

/** The same, in the kernels' memory. */
export function allocatedOf(
  values: ArrayLike<number>,
  { grad, name }: { grad?: ArrayLike<number>; name?: string } = {},
): Parameter {
  const parameter = Parameter.allocate([values.length], name === undefined ? {} : { name });
  parameter.data.set(values);
  if (grad === undefined) parameter.grad.fill(0);
  else parameter.grad.set(grad);
  return parameter;
}

/** Layers of different sizes and scales: a ratio that became global by mistake would show. */
export const SIZES = [300, 7, 513];

export function randomParameters(seed = 1, sizes: readonly number[] = SIZES): Parameter[] {
  return sizes.map((size, layer) =>
    parameterOf(randomArray(size, seed + layer, { scale: 10 ** (layer - 1) }), {
      name: `layer ${String.fromCharCode(97 + layer)}`,
    }),
  );
}

/** The gradient of a layer at a step. */
export function gradientAt(
  step: number,
  layer: number,
  size: number,
  options: { zeros?: number; scale?: number } = {},
): Float32Array {
  return randomArray(size, 1000 + 97 * step + layer, {
    scale: 10 ** (1 - layer) * (1 + step / 4),
    ...options,
  });
}

/** Makes steps with the gradients of {@link gradientAt}. */
export function runSteps(
  optimizer: LARS,
  params: readonly Parameter[],
  steps: number,
  { from = 0, zeros = 0 }: { from?: number; zeros?: number } = {},
): void {
  for (let step = from; step < from + steps; step++) {
    params.forEach((parameter, layer) => {
      parameter.grad = gradientAt(step, layer, parameter.size, { zeros });
    });
    optimizer.step();
  }
}

/** Everything that a step may change. */
export interface Snapshot {
  weights: Float32Array[];
  state: StateDict;
}

export function snapshotOf(optimizer: LARS, params: readonly Parameter[]): Snapshot {
  return {
    weights: params.map(({ data }) => Float32Array.from(data)),
    state: optimizer.stateDict(),
  };
}

function expectSameMomentum(
  actual: Momentum | null,
  expected: Momentum | null,
  what: string,
): void {
  if (actual?.kind === "float32" && expected?.kind === "float32") {
    expectSameBits(actual.values, expected.values, `${what}: momentum`);
  } else if (actual?.kind === "blockwise" && expected?.kind === "blockwise") {
    expectSameBits(actual.codes, expected.codes, `${what}: codes`);
    expectSameBits(actual.absmax, expected.absmax, `${what}: absmax`);
  } else if (actual !== expected) {
    throw new Error(`${what}: ${actual?.kind ?? "no momentum"}, not ${expected?.kind ?? "none"}`);
  }
}

/** Both states have the same bits. */
export function expectSameLayerState(actual: LayerState, expected: LayerState): void {
  const what = `layer ${expected.name ?? "without name"}`;
  const { momentum, gradientHistory, ...rest } = actual;
  const { momentum: wantedMomentum, gradientHistory: wantedHistory, ...wanted } = expected;
  if (JSON.stringify(rest) !== JSON.stringify(wanted)) {
    throw new Error(`${what}: ${JSON.stringify(rest)}, not ${JSON.stringify(wanted)}`);
  }
  expectSameMomentum(momentum, wantedMomentum, what);
  if (gradientHistory === null || wantedHistory === null) {
    if (gradientHistory !== wantedHistory) throw new Error(`${what}: one has a history`);
  } else {
    expectSameBits(gradientHistory, wantedHistory, `${what}: history`);
  }
}

export function expectSameState(actual: StateDict, expected: StateDict): void {
  if (actual.step !== expected.step || actual.layers.length !== expected.layers.length) {
    throw new Error("the states differ in steps or layers");
  }
  actual.layers.forEach((layer, index) => {
    expectSameLayerState(layer, expected.layers[index]!);
  });
}

export function expectSameSnapshot(actual: Snapshot, expected: Snapshot): void {
  actual.weights.forEach((weights, layer) => {
    expectSameBits(weights, expected.weights[layer]!, `weights of layer ${layer}`);
  });
  expectSameState(actual.state, expected.state);
}

/** The float32 momentum of a layer. */
export function float32Momentum(optimizer: LARS, layer = 0): Float32Array {
  const momentum = optimizer.stateDict().layers[layer]!.momentum;
  if (momentum?.kind !== "float32") throw new Error("no 32-bit momentum");
  return momentum.values;
}

/** The 8-bit momentum of a layer. */
export function blockwiseMomentum(
  optimizer: LARS,
  layer = 0,
): { codes: Uint8Array; absmax: Float32Array } {
  const momentum = optimizer.stateDict().layers[layer]!.momentum;
  if (momentum?.kind !== "blockwise") throw new Error("no 8-bit momentum");
  return momentum;
}
