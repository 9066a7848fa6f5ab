/** The core's optimizers on arrays of jax-js: for loops that read their gradients out anyway. */
import { numpy as np, tree } from "@jax-js/jax";
import type { JsTree, JsTreeDef } from "@jax-js/jax";
import { checkObject, shown } from "../../check.js";
import type { KernelOptions } from "../../optimizer/kernel-options.js";
import { LARS } from "../../optimizer/lars.js";
import type { StepOptions } from "../../optimizer/lars.js";
import type { ParamGroupOptions } from "../../optimizer/param-group.js";
import { Parameter } from "../../optimizer/parameter.js";
import type { LARSOptions } from "../../options/options.js";
import { resolveOptions } from "../../options/options.js";
import type { StepReport } from "../../step/report.js";
import type { MaskOptions } from "./lars.js";
import { maskedLayers } from "./masks.js";
import { checkSomeLeaf, isArray, LayerShape, leafNames, subtreesAt } from "./trees.js";
import type { ArrayTree } from "./trees.js";

/** Options of {@link optimizerFor}: those of `LARS`, and masks. */
export type HostOptions = LARSOptions & MaskOptions;

/** A layer: an array of jax-js, whose values are copied, or a parameter, which is used directly. */
export type HostLeaf = np.Array | Parameter;

/** The gradient of a layer: an array of jax-js, or values on the CPU. null: the step ignores the layer. */
export type HostGradient = np.Array | Float32Array | null;

/** What {@link optimizerFor} returns. */
export class HostOptimizer {
  /** The optimizer itself, with groups, state and `stateDict`. Masked layers form their own groups. */
  readonly optimizer: LARS;
  /** The layers in the order of the tree's leaves. Those made from arrays lie in the kernels' memory. */
  readonly parameters: readonly Parameter[];
  readonly #structure: JsTreeDef;
  readonly #gradientMemory: HostLayers["gradientMemory"];

  /** @internal See {@link optimizerFor}. */
  constructor(layers: HostLayers, options: HostOptions, kernelOptions: KernelOptions) {
    const { parameters, structure, gradientMemory } = layers;
    this.#structure = structure;
    this.#gradientMemory = gradientMemory;
    this.parameters = parameters;
    const { weightDecayMask, trustRatioMask, ...others } = options;
    // Before the groups, which repeat none of these checks: an error names "options".
    resolveOptions("options", others);
    const groups = groupsOf(layers, { weightDecayMask, trustRatioMask });
    this.optimizer = new LARS(groups, others, kernelOptions);
  }

  /**
   * Reads the gradients out and makes one step of the core.
   *
   * @param gradients a tree with the structure of the parameters; arrays of jax-js in it are consumed. Without
   *   it, the step uses the parameters' own gradients: write into `parameters[i].grad`
   * @throws what `LARS.step` throws, and TypeError for another structure
   */
  step(gradients?: JsTree<HostGradient>, options: StepOptions = {}): StepReport {
    if (gradients !== undefined) this.#takeGradients(gradients);
    return this.optimizer.step(options);
  }

  /** The weights as new arrays of jax-js on the default device, with the tree's structure. The caller owns them. */
  arrays(): ArrayTree {
    return tree.unflatten(
      this.#structure,
      // jax-js copies at once, so that shared memory will do, whatever its type says.
      this.parameters.map(({ data, shape }) =>
        np.array(data as Float32Array<ArrayBuffer>).reshape([...shape]),
      ),
    );
  }

  /** Frees the state, and the memory of the parameters that were made from arrays. */
  dispose(): void {
    this.optimizer.dispose();
    for (const [parameter, memory] of this.#gradientMemory) {
      parameter.grad = memory;
      parameter.dispose();
    }
  }

  #takeGradients(gradients: JsTree<HostGradient>): void {
    const leaves = subtreesAt("gradients", this.#structure, gradients);
    const names = leafNames(this.#structure);
    leaves.forEach((gradient, index) => {
      const parameter = this.parameters[index]!;
      const memory = this.#gradientMemory.get(parameter) ?? null;
      parameter.grad = takenGradient(gradient, memory, shown(names[index]));
    });
  }
}

/**
 * Values of a gradient, in the kernels' memory if possible: one copy is cheaper than passing them through in
 * every step.
 */
function takenGradient(
  gradient: unknown,
  memory: Float32Array | null,
  name: string,
): Float32Array | null {
  if (memory !== null && isArray(gradient) && isLike(gradient, memory)) {
    readInto(memory, gradient);
    return memory;
  }
  const values: unknown = isArray(gradient) ? gradient.dataSync() : gradient;
  if (values !== null && !(values instanceof Float32Array)) {
    throw new TypeError(
      `gradients ${name}: expected a float32 array of jax-js, a Float32Array or null, got ${shown(values)}`,
    );
  }
  // One of another length is for the step to refuse.
  if (memory === null || values?.length !== memory.length) return values;
  memory.set(values);
  return memory;
}

function isLike({ dtype, size }: np.Array, memory: Float32Array): boolean {
  return dtype === np.float32 && size === memory.length;
}

/**
 * 1 MiB: reading allocates, and memory of such sizes is used again, where larger ones are new pages each time (10
 * million elements in 8 layers: 20 to 25 ms a step instead of 30).
 */
const PIECE = 2 ** 18;

/** Reads an array out, on wasm piece by piece. Consumes the array. */
function readInto(memory: Float32Array, array: np.Array): void {
  const device: string = array.device;
  if (device !== "wasm" || array.size <= PIECE) {
    memory.set(array.dataSync() as Float32Array);
    return;
  }
  const flat = array.flatten();
  for (let start = 0; start < memory.length; start += PIECE) {
    const end = Math.min(start + PIECE, memory.length);
    memory.set(flat.ref.slice([start, end]).dataSync() as Float32Array, start);
  }
  flat.dispose();
}

interface HostLayers {
  readonly parameters: readonly Parameter[];
  readonly structure: JsTreeDef;
  /** The parameters made here, and the kernels' memory for their gradients. */
  readonly gradientMemory: ReadonlyMap<Parameter, Float32Array>;
}

/**
 * The fast way on the CPU: the core's kernels work in place on a copy of the parameters, for a loop that reads
 * its gradients out. On the `wasm` device reading is a copy; on GPUs it waits for the device.
 *
 *     const optimizer = optimizerFor(tree.ref(params), { lr: 0.1, momentum: 0.9 });
 *     optimizer.step(gradients);
 *     params = optimizer.arrays();
 *
 * @param params a tree of float32 arrays of jax-js, which are consumed, or of `Parameter`, used as
 *   they are
 * @param options those of `LARS`, and masks
 * @param kernelOptions how steps run, as for `LARS`
 * @throws TypeError or RangeError that names the option or layer, what was expected, and the value
 */
export function optimizerFor(
  params: JsTree<HostLeaf>,
  options: HostOptions,
  kernelOptions: KernelOptions = {},
): HostOptimizer {
  checkObject("options", options);
  return new HostOptimizer(hostLayers(params), options, kernelOptions);
}

function hostLayers(params: JsTree<HostLeaf>): HostLayers {
  const [leaves, structure] = tree.flatten(params);
  checkSomeLeaf("params", leaves);
  const names = leafNames(structure);
  const gradientMemory = new Map<Parameter, Float32Array>();
  const parameters = leaves.map((leaf, index) => {
    if (leaf instanceof Parameter) return leaf;
    const parameter = copied(leaf, names[index]!);
    gradientMemory.set(parameter, parameter.grad!);
    return parameter;
  });
  return { parameters, structure, gradientMemory };
}

function copied(leaf: unknown, name: string): Parameter {
  if (!isArray(leaf)) {
    throw new TypeError(
      `params ${shown(name)}: expected an array of jax-js or a Parameter, got ${shown(leaf)}`,
    );
  }
  const { shape } = leaf;
  const values: unknown = leaf.dataSync();
  if (!(values instanceof Float32Array)) {
    throw new TypeError(`params ${shown(name)}: expected float32, got ${shown(values)}`);
  }
  const parameter = Parameter.allocate(shape, { name });
  parameter.data.set(values);
  return parameter;
}

/** A group for each combination of masks that occurs. */
function groupsOf(
  { parameters, structure }: HostLayers,
  {
    weightDecayMask = true,
    trustRatioMask = true,
  }: { [Name in keyof MaskOptions]: MaskOptions[Name] | undefined },
): ParamGroupOptions[] {
  const names = leafNames(structure);
  const layers = parameters.map(
    ({ name, shape }, index) => new LayerShape(name ?? names[index]!, shape),
  );
  const decays = maskedLayers("weightDecayMask", weightDecayMask, { layers, structure });
  const adapts = maskedLayers("trustRatioMask", trustRatioMask, { layers, structure });
  const groups = [true, false].flatMap((isAdapted) =>
    [true, false].map((isDecayed): ParamGroupOptions => ({
      params: parameters.filter(
        (_, index) => adapts[index] === isAdapted && decays[index] === isDecayed,
      ),
      ...(isAdapted ? {} : { trustRatio: "none" }),
      ...(isDecayed ? {} : { weightDecay: 0 }),
    })),
  );
  return groups.filter(({ params }) => params.length > 0);
}
