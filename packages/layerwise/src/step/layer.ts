/** One layer of an optimizer: a parameter, its group, and the state that steps leave behind. */
import type { Kernel, Momentum } from "../kernels/kernel.js";
import type { ParamGroup } from "../optimizer/param-group.js";
import type { Parameter } from "../optimizer/parameter.js";
import type { Hyperparameters } from "../options/options.js";
import { dequantizeInto, quantizeInto } from "../state/blockwise.js";

/** How a layer's momentum is kept. */
export type MomentumKind = Momentum["kind"] | "none";

export class Layer {
  readonly parameter: Parameter;
  readonly group: ParamGroup;
  /** How errors and reports name the layer: its own name, or its position. */
  readonly label: string;
  /** k: steps that this layer has made. */
  stepCount = 0;
  momentum: Momentum | null = null;
  /** The last 100 squared gradient norms, once percentile clipping has been on. */
  gradientHistory: Float64Array | null = null;

  constructor(parameter: Parameter, group: ParamGroup, position: number) {
    this.parameter = parameter;
    this.group = group;
    this.label = parameter.name ?? `layer ${String(position)}`;
  }

  get stateBytes(): number {
    return momentumBytes(this.momentum) + (this.gradientHistory?.byteLength ?? 0);
  }
}

/** The kind of momentum that a layer's options ask for. */
export function wantedMomentum(values: Hyperparameters, size: number): MomentumKind {
  if (values.momentum === 0) return "none";
  return values.optimBits === 8 && size >= values.min8bitSize ? "blockwise" : "float32";
}

/** What momentum belongs to: a parameter, or what is known of one. */
export type MomentumOwner = Pick<Parameter, "size"> & Partial<Pick<Parameter, "data">>;

/**
 * The momentum of a layer in the wanted kind: as it is, converted into new arrays, or zeros. Nothing
 * is changed or released, so that a failed allocation leaves the state as it was.
 */
export function momentumAs(
  kind: MomentumKind,
  current: Momentum | null,
  { size, data }: MomentumOwner,
  kernel: Kernel,
): Momentum | null {
  if (kind === "none") return null;
  if (current?.kind === kind) return current;
  // Zeros: absmax 0 makes every code stand for 0.
  const next = kernel.allocateMomentum(kind, size, data);
  if (current !== null) convertMomentum(current, next);
  return next;
}

function convertMomentum(from: Momentum, to: Momentum): void {
  if (from.kind === "blockwise" && to.kind === "float32") dequantizeInto(from, to.values);
  if (from.kind === "float32" && to.kind === "blockwise") quantizeInto(from.values, to);
}

/** The arrays that a momentum is made of. */
export function momentumArrays(momentum: Momentum | null): (Float32Array | Uint8Array)[] {
  if (momentum === null) return [];
  return momentum.kind === "float32" ? [momentum.values] : [momentum.codes, momentum.absmax];
}

function momentumBytes(momentum: Momentum | null): number {
  return momentumArrays(momentum).reduce((bytes, array) => bytes + array.byteLength, 0);
}
