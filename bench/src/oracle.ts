/**
 * The judge: every rule written straight down in float64, one element after another. It shares no code with
 * what it judges, except for 8 bits, where the library's readable quantiser (not its kernel) rounds.
 */
import { dequantizeBlockwise, quantizeBlockwise } from "layerwise/quantization";
import type { Problem } from "./problem.js";
import { COEFFICIENT, LEARNING_RATE, MAX_UNORM, MOMENTUM, WEIGHT_DECAY } from "./rules.js";
import type { Computed } from "./rules.js";

/** Three: the momentum begins, goes on, and goes on from what was stored. */
export const CHECKED_STEPS = 3;

/** Layers with fewer elements keep 32-bit momentum. */
const LEAST_8BIT_SIZE = 4096;

/** Elements of a layer whose 8-bit momentum the oracle rounds, at up to 700 ns each; the rest it leaves unrounded. */
export const ROUNDED_ELEMENTS = 2 ** 16;

/** The weights after {@link CHECKED_STEPS} steps. */
export function expectedWeights(problem: Problem, rule: Computed, bits: 8 | 32): Float64Array[] {
  return problem.weights.map((initial, index) => {
    const weights = Float64Array.from(initial);
    const momentum = new Float64Array(initial.length);
    for (let step = 0; step < CHECKED_STEPS; step++) {
      stepLayer(weights, problem.gradients[index]!, momentum, rule);
      if (bits === 8 && initial.length >= LEAST_8BIT_SIZE) {
        momentum.set(rounded(momentum.subarray(0, ROUNDED_ELEMENTS)));
      }
    }
    return weights;
  });
}

function stepLayer(
  weights: Float64Array,
  gradient: Float32Array,
  momentum: Float64Array,
  rule: Computed,
): void {
  const decay = rule === "momentum" || rule === "bitsandbytes" ? 0 : WEIGHT_DECAY;
  const sums = { weights: 0, gradient: 0, direction: 0, update: 0 };
  for (let i = 0; i < weights.length; i++) {
    const direction = gradient[i]! + decay * weights[i]!;
    const update = MOMENTUM * momentum[i]! + direction;
    sums.weights += weights[i]! ** 2;
    sums.gradient += gradient[i]! ** 2;
    sums.direction += direction ** 2;
    sums.update += update ** 2;
  }
  const { directionScale, updateScale } = scalesOf(rule, {
    weights: Math.sqrt(sums.weights),
    gradient: Math.sqrt(sums.gradient),
    direction: Math.sqrt(sums.direction),
    update: Math.sqrt(sums.update),
  });
  for (let i = 0; i < weights.length; i++) {
    const direction = gradient[i]! + decay * weights[i]!;
    momentum[i] = MOMENTUM * momentum[i]! + directionScale * direction;
    weights[i]! -= updateScale * momentum[i]!;
  }
}

type Norms = Readonly<Record<"weights" | "gradient" | "direction" | "update", number>>;

/** What the direction is multiplied by on its way into the momentum, and the momentum on its way into the weights. */
function scalesOf(rule: Computed, norms: Norms): { directionScale: number; updateScale: number } {
  const after = (ratio: number) => ({ directionScale: 1, updateScale: LEARNING_RATE * ratio });
  const before = (ratio: number) => ({ directionScale: LEARNING_RATE * ratio, updateScale: 1 });
  switch (rule) {
    case "clip-update":
    case "bitsandbytes":
      return after(Math.min(1, (MAX_UNORM * norms.weights) / norms.update));
    case "scale-update":
      return after((COEFFICIENT * norms.weights) / norms.update);
    case "scale-gradient":
      return before(
        (COEFFICIENT * norms.weights) / (norms.gradient + WEIGHT_DECAY * norms.weights),
      );
    case "optax":
      return before((COEFFICIENT * norms.weights) / norms.direction);
    case "none":
    case "momentum":
      return after(1);
  }
}

function rounded(momentum: Float64Array): Float32Array {
  return dequantizeBlockwise(quantizeBlockwise(Float32Array.from(momentum)));
}

/**
 * The largest distance of a layer from where it should be, relative to the way it should have gone.
 *
 * @param most looks at so many elements of each layer
 */
export function relativeError(
  problem: Problem,
  expected: readonly Float64Array[],
  weights: readonly ArrayLike<number>[],
  most = Infinity,
): number {
  const errors = expected.map((layer, index) => {
    const [initial, actual] = [problem.weights[index]!, weights[index]!];
    if (actual.length !== layer.length) return Infinity;
    let [distance, way] = [0, 0];
    for (let i = 0; i < Math.min(layer.length, most); i++) {
      distance += (actual[i]! - layer[i]!) ** 2;
      way += (layer[i]! - initial[i]!) ** 2;
    }
    const error = Math.sqrt(distance / way);
    return Number.isNaN(error) ? Infinity : error;
  });
  return Math.max(...errors);
}
