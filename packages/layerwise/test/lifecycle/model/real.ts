/** The program that is tested: the library's own objects, beside those of the world. */
import type * as checkpoint from "../../../src/checkpoint.js";
import type * as layerwise from "../../../src/index.js";
import type { Cell, ClassName, Rate, World, WorldOptions, WorldParameter } from "./world.js";
import { rateOf } from "./world.js";

/** A copy of the library: sources, or what was built, and as many copies as one likes. */
export type Library = typeof layerwise & typeof checkpoint;

/** Any copy's. */
type Parameter = layerwise.Parameter;
type LARS = layerwise.LARS;

export interface Real {
  readonly library: Library;
  readonly kernel: layerwise.KernelOptions & { kernel: "wasm" | "reference" };
  readonly parameters: Map<WorldParameter, RealParameter>;
  readonly optimizers: LARS[];
  readonly saves: (layerwise.StateDict | Uint8Array)[];
  /** What the caller holds of each array. */
  readonly arrays: Map<Cell, Float32Array>;
}

export interface RealParameter {
  readonly parameter: Parameter;
  /** The array that a subarray was taken of; its ends must stay as they are. */
  readonly whole: Float32Array | null;
}

export function emptyReal(library: Library, kernel: Real["kernel"]): Real {
  return {
    library,
    kernel,
    parameters: new Map(),
    optimizers: [],
    saves: [],
    arrays: new Map(),
  };
}

export function realOf(real: Real, parameter: WorldParameter): Parameter {
  return real.parameters.get(parameter)!.parameter;
}

/** What stands beside a subarray. */
export const GUARD = 12345.678;
const GUARDS = 5;

/** The ends of the array that a subarray was taken of. */
export function guardsOf(whole: Float32Array): number[] {
  return [...whole.subarray(0, GUARDS), ...whole.subarray(whole.length - GUARDS)];
}

/** An array that can grow to twice its length and shrink, seen by a view that goes with it. */
export function resizableArray(values: Float32Array): Float32Array {
  const bytes = values.byteLength;
  // The library's configuration of TypeScript is ES2022, which has no resizable buffers yet.
  const Resizable = ArrayBuffer as unknown as new (
    length: number,
    options: { maxByteLength: number },
  ) => ArrayBuffer;
  const array = new Float32Array(new Resizable(bytes, { maxByteLength: 2 * bytes }));
  array.set(values);
  return array;
}

export function resize(array: Float32Array, elements: number): void {
  (array.buffer as unknown as { resize(bytes: number): void }).resize(4 * elements);
}

export function detach(array: Float32Array): void {
  structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
}

/** The library's parameter for one of the world, on a new array with the world's values. */
export function makeParameter(real: Real, parameter: WorldParameter, world: World): void {
  const { library } = real;
  const { weights, origin, shape } = parameter;
  const options = { shape, ...(parameter.name === null ? {} : { name: parameter.name }) };
  let made: RealParameter;
  if (origin === "allocated") {
    const named = parameter.name === null ? {} : { name: parameter.name };
    made = { parameter: library.Parameter.allocate(shape, named), whole: null };
    made.parameter.data.set(weights.values);
  } else if (origin === "subarray") {
    const whole = new Float32Array(parameter.size + 2 * GUARDS).fill(GUARD);
    const data = whole.subarray(GUARDS, GUARDS + parameter.size);
    data.set(weights.values);
    made = { parameter: new library.Parameter(data, options), whole };
  } else if (origin === "tied") {
    const owner = world.parameters.find(
      (other) => other !== parameter && other.weights === weights && other.fate === "alive",
    );
    const data = owner === undefined ? weights.values.slice() : realOf(real, owner).data;
    made = { parameter: new library.Parameter(data, options), whole: null };
  } else {
    const data =
      origin === "resizable" ? resizableArray(weights.values) : Float32Array.from(weights.values);
    made = { parameter: new library.Parameter(data, options), whole: null };
  }
  real.parameters.set(parameter, made);
  real.arrays.set(weights, made.parameter.data);
  if (parameter.ownGradient !== null) real.arrays.set(parameter.ownGradient, made.parameter.grad!);
}

function schedule(lr: Rate): layerwise.LARSOptions["lr"] {
  return typeof lr === "number" ? lr : (step) => rateOf(lr, step);
}

/** Options as a user writes them. */
export function asGiven(options: WorldOptions): layerwise.LARSOptions;
export function asGiven(options: Partial<WorldOptions>): Partial<layerwise.LARSOptions>;
export function asGiven({ lr, ...rest }: Partial<WorldOptions>): Partial<layerwise.LARSOptions> {
  return lr === undefined ? rest : { ...rest, lr: schedule(lr) };
}

export function construct(
  real: Real,
  className: ClassName,
  groups: { params: WorldParameter[]; options: Partial<WorldOptions> }[],
  defaults: WorldOptions,
): LARS {
  const given = groups.map(({ params, options }) => ({
    ...asGiven(options),
    params: params.map((parameter) => realOf(real, parameter)),
  }));
  return new real.library[className](given, asGiven(defaults), real.kernel);
}
