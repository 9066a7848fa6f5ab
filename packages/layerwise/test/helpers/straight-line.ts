/**
 * One LARS step in float64, written straight down from the specification, step by step and without
 * a phase, a rule object or a kernel. It shares no code with the library; only types.
 */
import type { LARSOptions, TrustRatio } from "../../src/index.js";

export interface PlainOptions extends Required<
  Pick<
    LARSOptions,
    | "momentum"
    | "dampening"
    | "weightDecay"
    | "nesterov"
    | "percentileClipping"
    | "skipZeros"
    | "maxGradNorm"
  >
> {
  lr: number;
  trustRatio: TrustRatio;
}

export interface PlainLayer {
  weights: Float64Array;
  /** null before the first step and without momentum. */
  momentum: Float64Array | null;
  /** Steps made. */
  steps: number;
  history: number[] | null;
}

export interface PlainReport {
  weightNorm: number;
  gradNorm: number;
  updateNorm: number;
  trustRatio: number;
  clipScale: number;
}

export interface PlainStep {
  layer: PlainLayer;
  gradient: ArrayLike<number>;
  options: PlainOptions;
}

export function plainLayer(weights: ArrayLike<number>): PlainLayer {
  return { weights: Float64Array.from(weights), momentum: null, steps: 0, history: null };
}

function norm(values: Float64Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

/** Makes one step over all layers. */
export function plainStep(steps: readonly PlainStep[], gradScale = 1): PlainReport[] {
  // 1. g ← g · gradScale
  const gradients = steps.map(({ gradient }) =>
    Float64Array.from(gradient, (value) => value * gradScale),
  );
  const gradientNorms = gradients.map(norm);

  // 2. percentile clipping
  const clips = steps.map(({ layer, options }, index) => {
    const gradNorm = gradientNorms[index]!;
    if (options.percentileClipping === 100) return 1;
    layer.history ??= Array.from({ length: 100 }, () => gradNorm ** 2);
    layer.history[(layer.steps + 1) % 100] = gradNorm ** 2;
    const sorted = [...layer.history].sort((a, b) => a - b);
    const threshold = Math.sqrt(sorted[options.percentileClipping]!);
    return gradNorm > threshold ? threshold / gradNorm : 1;
  });

  // 3. global clipping
  const globalNorm = Math.sqrt(
    clips.reduce((sum, clip, index) => sum + (clip * gradientNorms[index]!) ** 2, 0),
  );
  const scales = steps.map(({ options: { maxGradNorm } }, index) =>
    maxGradNorm === null
      ? clips[index]!
      : clips[index]! * Math.min(1, maxGradNorm / (globalNorm + 1e-6)),
  );

  return steps.map(({ layer, options }, index) =>
    plainLayerStep(layer, gradients[index]!, scales[index]!, options),
  );
}

function plainLayerStep(
  layer: PlainLayer,
  gradient: Float64Array,
  clipScale: number,
  options: PlainOptions,
): PlainReport {
  const { weights } = layer;
  const { lr, momentum: mu, dampening, weightDecay, nesterov, trustRatio: rule } = options;
  const skipped = (i: number): boolean => options.skipZeros && gradient[i] === 0;
  const weightNorm = norm(weights);
  const gradNorm = norm(gradient);

  // 4. d = c·g + λ·w
  const direction = gradient.map((g, i) =>
    skipped(i) ? 0 : clipScale * g + weightDecay * weights[i]!,
  );

  // 5. r before the momentum
  let ratio = 1;
  const classic = rule.rule === "scale-gradient" && rule.momentumOrder === "classic";
  if (rule.rule === "scale-gradient") {
    const denominator = {
      sum: clipScale * gradNorm + weightDecay * weightNorm + rule.eps,
      joint: norm(direction) + rule.eps,
      gradient: clipScale * gradNorm + rule.eps,
    }[rule.denominator];
    if (weightNorm === 0 || denominator === 0) {
      ratio = rule.whenZero === "unit" ? 1 : 0;
    } else {
      ratio = (rule.coefficient * weightNorm) / denominator;
      if (rule.clip) ratio = Math.min(ratio / lr, 1);
    }
    const factor = classic ? lr * ratio : ratio;
    for (let i = 0; i < direction.length; i++) direction[i]! *= factor;
  }

  // 6. momentum
  const first = layer.momentum === null || mu === 0;
  const stored = layer.momentum ?? new Float64Array(weights.length);
  const next = direction.map((d, i) => {
    if (skipped(i)) return stored[i]!;
    return first ? d : mu * stored[i]! + (1 - dampening) * d;
  });
  layer.momentum = mu === 0 ? null : next;

  // 7. update
  const update = direction.map((d, i) => {
    if (skipped(i)) return 0;
    return nesterov ? d + mu * next[i]! : next[i]!;
  });
  const updateNorm = norm(update);

  // 5. r after the momentum
  if (rule.rule === "clip-update" && rule.maxUnorm > 0) {
    if (weightNorm === 0 || updateNorm === 0) ratio = rule.whenZero === "unit" ? 1 : 0;
    else ratio = Math.min(1, (rule.maxUnorm * weightNorm) / updateNorm);
  }
  if (rule.rule === "scale-update") {
    const denominator = updateNorm + rule.eps;
    if (weightNorm === 0 || denominator === 0) ratio = rule.whenZero === "unit" ? 1 : 0;
    else ratio = (rule.coefficient * weightNorm) / denominator;
  }

  // 8. w ← w − γ·r·u; what is in the direction already does not come twice
  let stepSize = lr * ratio;
  if (rule.rule === "scale-gradient") stepSize = classic ? 1 : lr;
  for (let i = 0; i < weights.length; i++) weights[i]! -= stepSize * update[i]!;

  layer.steps++;
  return { weightNorm, gradNorm, updateNorm, trustRatio: ratio, clipScale };
}
