/**
 * AdamW, the rival whose steps are in proportion for each weight.
 *
 * Source: Loshchilov and Hutter 2019 (arXiv 1711.05101), as `torch.optim.AdamW` computes it; gradients are
 * limited as `torch.nn.utils.clip_grad_norm_` does.
 */
import { NonFiniteGradientError } from "layerwise";
import type { LayerReport, Parameter, StepReport } from "layerwise";
import type { Checkpoint, CheckpointTensor } from "layerwise/checkpoint";
import type { StepOptimizer } from "./step-optimizer.js";

export interface AdamWOptions {
  readonly lr: (step: number) => number;
  readonly beta1: number;
  /** For matrices; other parameters have none. */
  readonly weightDecay: number;
  readonly maxGradNorm: number | null;
}

/** PyTorch's defaults. */
const BETA2 = 0.999;
const EPSILON = 1e-8;
const CLIP_EPSILON = 1e-6;

/** First and second moments of a parameter's gradients, which checkpoints name so. */
interface Moments {
  readonly adamw_mean: Float32Array;
  readonly adamw_square: Float32Array;
}

export class AdamW implements StepOptimizer {
  readonly addsUpGradients = false;
  readonly #parameters: readonly Parameter[];
  readonly #options: AdamWOptions;
  readonly #moments: readonly Moments[];
  #step = 0;

  /** @param parameters with a gradient and a name each */
  constructor(parameters: readonly Parameter[], options: AdamWOptions) {
    this.#parameters = parameters;
    this.#options = options;
    this.#moments = parameters.map(({ size }) => ({
      adamw_mean: new Float32Array(size),
      adamw_square: new Float32Array(size),
    }));
  }

  get stateBytes(): number {
    return this.#moments.reduce(
      (sum, { adamw_mean, adamw_square }) => sum + adamw_mean.byteLength + adamw_square.byteLength,
      0,
    );
  }

  step(gradScale: number): StepReport {
    const gradNorms = this.#parameters.map(({ grad }) => gradScale * norm(grad!));
    const broken = gradNorms.findIndex((value) => !Number.isFinite(value));
    if (broken >= 0) throw new NonFiniteGradientError(this.#parameters[broken]!.name!);
    const gradNorm = Math.hypot(...gradNorms);
    const { maxGradNorm } = this.#options;
    const clipScale =
      maxGradNorm === null ? 1 : Math.min(1, maxGradNorm / (gradNorm + CLIP_EPSILON));
    const lr = this.#options.lr(this.#step);
    this.#step++;
    const layers = this.#parameters.map((parameter, index): LayerReport => {
      const weightNorm = norm(parameter.data);
      const updateNorm = this.#update(index, { lr, scale: gradScale * clipScale });
      const name = parameter.name!;
      return {
        name,
        weightNorm,
        gradNorm: gradNorms[index]!,
        updateNorm,
        trustRatio: 1,
        clipScale,
      };
    });
    return { step: this.#step, lr, skipped: false, gradNorm, layers };
  }

  save(): Checkpoint {
    const tensors: Record<string, CheckpointTensor> = {};
    this.#parameters.forEach(({ name, shape }, index) => {
      for (const [moment, data] of Object.entries(this.#moments[index]!)) {
        tensors[`${name!}/${moment}`] = { shape, data: data as Float32Array };
      }
    });
    return { step: this.#step, layers: [], tensors };
  }

  restore({ step, tensors = {} }: Checkpoint): void {
    this.#parameters.forEach(({ name, size }, index) => {
      for (const [moment, data] of Object.entries(this.#moments[index]!)) {
        const saved = tensors[`${name!}/${moment}`]?.data;
        if (saved?.length !== size) {
          throw new RangeError(
            `${name!}/${moment}: expected ${size} elements, got ${String(saved?.length ?? "none")}`,
          );
        }
        (data as Float32Array).set(saved);
      }
    });
    this.#step = step;
  }

  dispose(): void {
    // The moments are ordinary arrays, which are collected.
  }

  /** Updates one parameter. Returns the norm of its update, before the rate and without decay. */
  #update(index: number, { lr, scale }: { lr: number; scale: number }): number {
    const { data, grad, shape } = this.#parameters[index]!;
    const { adamw_mean: mean, adamw_square: square } = this.#moments[index]!;
    const { beta1 } = this.#options;
    const kept = shape.length > 1 ? 1 - lr * this.#options.weightDecay : 1;
    const meanCorrection = 1 / (1 - beta1 ** this.#step);
    const rootCorrection = 1 / Math.sqrt(1 - BETA2 ** this.#step);
    let sumSquares = 0;
    for (let i = 0; i < data.length; i++) {
      const g = grad![i]! * scale;
      const m = (mean[i] = beta1 * mean[i]! + (1 - beta1) * g);
      const v = (square[i] = BETA2 * square[i]! + (1 - BETA2) * g * g);
      const update = (m * meanCorrection) / (Math.sqrt(v) * rootCorrection + EPSILON);
      data[i] = data[i]! * kept - lr * update;
      sumSquares += update * update;
    }
    return Math.sqrt(sumSquares);
  }
}

function norm(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return Math.sqrt(sum);
}
