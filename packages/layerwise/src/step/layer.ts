/** One layer of an optimizer: its arrays, and the state that steps leave behind. */
import { momentumBytes } from "../state/momentum.js";
import type { Momentum } from "../state/momentum.js";

/** What a step knows of a parameter. */
export interface LayerTensor {
  readonly name: string | undefined;
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly size: number;
  readonly data: Float32Array;
  readonly grad: Float32Array | null;
}

export class Layer<Tensor extends LayerTensor = LayerTensor> {
  readonly parameter: Tensor;
  /** How errors and reports name the layer: its own name, or its position. */
  readonly label: string;
  /** k: steps that this layer has made. */
  stepCount = 0;
  momentum: Momentum | null = null;
  /** The last 100 squared gradient norms, once percentile clipping has been on. */
  gradientHistory: Float64Array | null = null;

  constructor(parameter: Tensor, position: number) {
    this.parameter = parameter;
    this.label = parameter.name ?? `layer ${String(position)}`;
  }

  get stateBytes(): number {
    return momentumBytes(this.momentum) + (this.gradientHistory?.byteLength ?? 0);
  }
}
