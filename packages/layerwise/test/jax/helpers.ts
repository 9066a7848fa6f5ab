/** Runs the transformations of layerwise/jax beside the core's optimizers. */
import { init, jit, numpy as np, tree } from "@jax-js/jax";
import type { JsTree } from "@jax-js/jax";
import { LARS, Parameter } from "../../src/index.js";
import type { LARSOptions, ParamGroupOptions } from "../../src/index.js";
import { applyUpdates } from "../../src/jax.js";
import type { GradientTransformation, OptState } from "../../src/jax.js";
import { createDynamicMap } from "../../src/quantization.js";
import { codebookMidpoints } from "../../src/state/codebook.js";
import { relativeDifference } from "../helpers/numbers.js";
import { gradientAt } from "../helpers/problem.js";
import { randomArray } from "../helpers/random.js";

/** A bare `init()` asks for a browser. */
export async function initWasm(): Promise<void> {
  await init("wasm");
}

export type Arrays = JsTree<np.Array>;

/** A float32 array of jax-js on a copy of the values. */
export function arrayOf(values: ArrayLike<number>, shape = [values.length]): np.Array {
  return np.array(Float32Array.from(values)).reshape(shape);
}

/** The values of an array, which stays usable. */
export function valuesOf(array: np.Array): Float32Array {
  return array.ref.dataSync() as Float32Array;
}

export function leavesOf(arrays: Arrays): np.Array[] {
  return tree.leaves(arrays);
}

/** A step under jit: gradients, state and parameters in, parameters and state out. */
export type Step = (gradients: Arrays, state: OptState, params: Arrays) => [Arrays, OptState];

export function stepOf(transformation: GradientTransformation): Step {
  return (gradients, state, params) => {
    const [updates, next] = transformation.update(gradients, state, tree.ref(params));
    return [applyUpdates(params, updates), next];
  };
}

export interface JittedStep extends Step {
  dispose: () => void;
}

export function jitted(step: Step): JittedStep {
  return jit(step as (...args: unknown[]) => JsTree<np.Array>) as unknown as JittedStep;
}

/** Layers of unlike size, scale and number of dimensions. */
export const SHAPES = [[20, 30], [7], [33, 41]];

export const SIZES = SHAPES.map((shape) => shape.reduce((product, length) => product * length, 1));

export function initialWeights(sizes: readonly number[] = SIZES): Float32Array[] {
  return sizes.map((size, layer) =>
    randomArray(size, 1 + layer, { scale: 10 ** ((layer % 3) - 1) }),
  );
}

/** The momentum of a layer, as the core keeps it. */
export interface Codes {
  codes: Uint8Array;
  absmax: Float32Array;
}

export function codesOf({ codes, absmax }: { codes: np.Array; absmax: np.Array }): Codes {
  const words = codes.ref.dataSync() as Uint32Array;
  return {
    codes: new Uint8Array(words.buffer, words.byteOffset, words.byteLength),
    absmax: valuesOf(absmax),
  };
}

const midpoints = codebookMidpoints(createDynamicMap());

/** How far a value lies from the midpoint between two codes; Infinity if they are no neighbours. */
export function distanceToMidpoint(value: number, code: number, other: number): number {
  if (Math.abs(code - other) !== 1) return Infinity;
  return Math.abs(value - midpoints[Math.min(code, other)]!);
}

/** What a trajectory is compared over. */
export interface Comparison {
  /** The largest difference of the weights from the core's over all layers, relative to the layer's largest. */
  weights: number;
  core: LARS;
  coreParams: Parameter[];
  state: OptState;
  params: np.Array[];
}

export interface RunOptions {
  steps: number;
  shapes?: readonly number[][];
  zeros?: number;
  gradient?: (step: number, layer: number, size: number) => Float32Array;
  groups?: (params: Parameter[]) => ParamGroupOptions[];
  /** Runs without jit. */
  eager?: boolean;
  /** Sees both after each step. */
  afterStep?: (both: StepOutcome) => void;
}

/** Both sides after a step. */
export interface StepOutcome {
  readonly core: LARS;
  readonly coreParams: readonly Parameter[];
  /** The gradients of the step. */
  readonly gradients: readonly Float32Array[];
  readonly state: OptState;
}

/** The same steps with a transformation and with the core. The caller disposes of nothing. */
export function compare(
  transformation: GradientTransformation,
  coreOptions: LARSOptions,
  { steps, shapes = SHAPES, zeros = 0, groups, eager = false, afterStep, ...rest }: RunOptions,
): Comparison {
  const sizes = shapes.map((shape) => shape.reduce((product, length) => product * length, 1));
  const gradient =
    rest.gradient ?? ((step, layer, size) => gradientAt(step, layer, size, { zeros }));
  const initial = initialWeights(sizes);
  const coreParams = initial.map(
    (values, layer) => new Parameter(values.slice(), { shape: shapes[layer]! }),
  );
  const core = new LARS(groups === undefined ? coreParams : groups(coreParams), coreOptions, {
    threads: 1,
  });
  let params: Arrays = initial.map((values, layer) => arrayOf(values, shapes[layer]));
  let state = transformation.init(tree.ref(params));
  const compiled = eager ? null : jitted(stepOf(transformation));
  const step = compiled ?? stepOf(transformation);
  let weights = 0;
  for (let index = 0; index < steps; index++) {
    const gradients = sizes.map((size, layer) => gradient(index, layer, size));
    coreParams.forEach((parameter, layer) => (parameter.grad = gradients[layer]!));
    core.step();
    const arrays = gradients.map((values, layer) => arrayOf(values, shapes[layer]));
    [params, state] = step(arrays, state, params);
    (params as np.Array[]).forEach((array, layer) => {
      weights = Math.max(weights, relativeDifference(valuesOf(array), coreParams[layer]!.data));
    });
    afterStep?.({ core, coreParams, gradients, state });
  }
  compiled?.dispose();
  return { weights, core, coreParams, state, params: params as np.Array[] };
}
