/** What a step should leave behind, in float64, and how far float32 arithmetic may be from it. */
import { plainStep } from "../../helpers/straight-line.js";
import type { PlainReport } from "../../helpers/straight-line.js";
import { LARGEST_CODE_ERROR, valuesOf } from "./codes.js";
import { rateOf, wantedKind } from "./world.js";
import type { WorldLayer, WorldMomentum, WorldOptimizer } from "./world.js";

/**
 * One float32 operation rounds by 6e-8 of its result. The kernels' longest chain to a weight has about ten (factors,
 * products, sums, norms of float32 lanes, the ratio): 2e-6 of the largest term that enters is three times that.
 */
const ROUNDING = 2e-6;

export interface ExpectedLayer {
  layer: WorldLayer;
  report: PlainReport;
  weights: Float64Array;
  weightTolerance: number;
  /** null: no momentum is kept. */
  momentum: Float64Array | null;
  momentumTolerance: number;
  kind: "none" | WorldMomentum["kind"];
  history: Float64Array | null;
  /** Relative, of the report's ratio and norm of the update. */
  normTolerance: number;
}

function largest(values: Iterable<number>): number {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}

function norm(values: Iterable<number>): number {
  let sum = 0;
  for (const value of values) sum += value ** 2;
  return Math.sqrt(sum);
}

/** How much larger the terms are than the norm of their sum: where terms cancel, their rounding stays. */
function amplification(terms: number, length: number, sum: number): number {
  return sum === 0 ? 1 : Math.max(1, (terms * Math.sqrt(length)) / sum);
}

/** A step over the layers that have a gradient; the world is not changed. */
export function expectedStep(optimizer: WorldOptimizer, gradScale: number): ExpectedLayer[] {
  const stepping = optimizer.layers.filter(({ parameter }) => parameter.gradient !== null);
  const before = stepping.map(({ momentum, parameter }) =>
    momentum === null ? null : valuesOf(momentum, parameter.size),
  );
  const steps = stepping.map((layer, index) => ({
    layer: {
      weights: Float64Array.from(layer.parameter.weights.values),
      momentum: before[index]!,
      steps: layer.steps,
      history: layer.history === null ? null : [...layer.history],
    },
    gradient: layer.parameter.gradient!.values,
    options: { ...layer.group.options, lr: rateOf(layer.group.options.lr, optimizer.steps) },
  }));
  const reports = plainStep(steps, gradScale);
  return stepping.map((layer, index) => {
    const { options, layer: after, gradient } = steps[index]!;
    const report = reports[index]!;
    const { size } = layer.parameter;
    const kind = wantedKind(layer.group.options, size);
    const w = layer.parameter.weights.values;
    const stored = before[index] ?? new Float64Array(0);

    const rule = options.trustRatio;
    const isBefore = rule.rule === "scale-gradient";
    const isClassic = isBefore && rule.momentumOrder === "classic";
    const factor = (isBefore ? report.trustRatio : 1) * (isClassic ? options.lr : 1);
    const clip = report.clipScale * gradScale;
    const terms = clip * largest(gradient) + options.weightDecay * largest(w);
    const direction = Float64Array.from(w, (weight, i) =>
      options.skipZeros && gradient[i] === 0
        ? 0
        : clip * gradient[i]! + options.weightDecay * weight,
    );
    const ofDirection = amplification(terms, size, norm(direction));
    // Momentum that changes its kind may be quantised before this step reads it, or after.
    const isQuantized = layer.momentum?.kind === "float32" && kind === "blockwise";
    const quantization = isQuantized
      ? options.momentum * largest(stored) * LARGEST_CODE_ERROR * 1.01
      : 0;
    const momentumTerms = options.momentum * largest(stored) + factor * terms;
    const momentumTolerance =
      ROUNDING * (momentumTerms + factor * terms * ofDirection) + quantization;
    const lookahead = options.nesterov ? 1 + options.momentum : 1;
    const updateTerms = factor * terms + lookahead * momentumTerms;
    const updateTolerance =
      ROUNDING * (updateTerms + factor * terms * ofDirection) + lookahead * quantization;
    const ofUpdate = amplification(updateTerms, size, report.updateNorm);
    const relative = updateTolerance / Math.max(updateTerms, 1e-300);
    let stepSize = options.lr * report.trustRatio;
    if (isBefore) stepSize = isClassic ? 1 : options.lr;
    return {
      layer,
      report,
      weights: after.weights,
      weightTolerance:
        ROUNDING * largest(w) +
        stepSize *
          (2 * updateTolerance + relative * ofUpdate * Math.min(updateTerms, report.updateNorm)),
      momentum: after.momentum,
      momentumTolerance,
      kind,
      history: after.history === null ? null : Float64Array.from(after.history),
      normTolerance: ROUNDING * ofDirection + relative * ofUpdate,
    };
  });
}
