/**
 * One step over all layers, in the words of docs/specification.md: begin, measure, clip, ratio, apply, report.
 *
 * Nothing is written until everything is decided and all memory is allocated, so a step happens completely or not at all.
 */
import { checkArray, hasLength, shown } from "../check.js";
import { globalClipScale } from "../decide/global-clipping.js";
import { clipToPercentile, PERCENTILE_OFF } from "../decide/percentile-clipping.js";
import { trustRatioOf } from "../decide/trust-ratio.js";
import { NonFiniteGradientError } from "../errors.js";
import { NO_SUMS } from "../kernels/kernel.js";
import type { Kernel, KernelTask, SumsOfSquares } from "../kernels/kernel.js";
import type { Hyperparameters } from "../options/options.js";
import { directionEquation, unscaledEquation, updateEquation } from "./equation.js";
import type { Layer } from "./layer.js";
import { makeMomenta, momentumAs, wantedMomentum } from "./momentum.js";
import { normPlan, updateNorm, weightNorm } from "./norms.js";
import type { NormPlan } from "./norms.js";
import type { LayerReport, StepReport } from "./report.js";

/** A group of layers in one step, with its options. */
export interface GroupStep {
  readonly layers: readonly Layer[];
  readonly values: Hyperparameters;
  /** γ of this step. */
  readonly learningRate: number;
}

/** What a step needs in addition to its layers. */
export interface StepContext {
  readonly kernel: Kernel;
  /** What multiplies every gradient, > 0. */
  readonly gradScale: number;
}

/** What a step reports about its layers. The optimizer adds its count and rate. */
export type StepOutcome = Pick<StepReport, "skipped" | "gradNorm" | "layers">;

/** A layer that takes part in a step, because it has a gradient. */
interface Active {
  readonly layer: Layer;
  readonly values: Hyperparameters;
  readonly learningRate: number;
  readonly plan: NormPlan;
  readonly gradScale: number;
  /** No momentum is stored, or none is kept: m = d. */
  readonly isFirst: boolean;
}

/** c of each layer, and the history to keep if the step is made. */
interface Clips {
  readonly scales: readonly number[];
  readonly histories: readonly (Float64Array | null)[];
}

/**
 * @throws TypeError or RangeError that names the layer, for arrays that do not fit it; NonFiniteGradientError under
 *   nonFinite "throw". Then nothing was written
 */
export function runStep(
  groups: readonly GroupStep[],
  { kernel, gradScale }: StepContext,
): StepOutcome {
  const active = begin(groups, gradScale);
  const gradients = measure(kernel, active);
  if (!areFinite(active, gradients)) return reportSkipped(active, gradients);
  const clips = clip(active, gradients);
  const norms = measureClipped(kernel, active, { sums: gradients, scales: clips.scales });
  const ratios = active.map((step, index) => ratio(step, norms[index]!, clips.scales[index]!));
  const applied = apply(kernel, active, { clips, ratios });
  return report(active, { norms, clips, ratios, applied });
}

/** The layers that have a gradient, with arrays of unchanged length. */
function begin(groups: readonly GroupStep[], gradScale: number): Active[] {
  const active: Active[] = [];
  for (const { layers, values, learningRate } of groups) {
    const plan = normPlan(values.trustRatio);
    for (const layer of layers) {
      if (!hasGradient(layer)) continue;
      const isFirst = layer.momentum === null || values.momentum === 0;
      active.push({ layer, values, learningRate, plan, gradScale, isFirst });
    }
  }
  return active;
}

/**
 * Whether a layer takes part in a step.
 *
 * @throws TypeError or RangeError for a gradient of another type or length, and for weights that are gone or resized: a
 *   disposed parameter's, a detached buffer's
 */
export function hasGradient({ parameter, label }: Layer): boolean {
  const { data, grad, size } = parameter;
  const isRight =
    hasLength(data, size) &&
    (grad === null || (grad instanceof Float32Array && hasLength(grad, size)));
  // Messages are built only if something is wrong: with many small layers they took a tenth of a step.
  if (!isRight) {
    checkArray(`layer ${shown(label)}: data`, data, Float32Array, size);
    checkArray(`layer ${shown(label)}: grad`, grad, Float32Array, size);
  }
  return grad !== null;
}

function measure(kernel: Kernel, active: readonly Active[]): SumsOfSquares[] {
  return kernel.measure(active.map((step) => measureTask(step, 1)));
}

/** Where clipping has changed d, and so ‖u‖, what the rule measures is measured again; the gradient's own sum stands. */
function measureClipped(
  kernel: Kernel,
  active: readonly Active[],
  { sums, scales }: { sums: readonly SumsOfSquares[]; scales: readonly number[] },
): readonly SumsOfSquares[] {
  const isChanged = active.map(({ plan }, index) => plan.measure.update && scales[index] !== 1);
  if (!isChanged.includes(true)) return sums;
  const tasks = active.flatMap((step, index) =>
    isChanged[index] === true ? [measureTask(step, scales[index]!)] : [],
  );
  const remeasured = kernel.measure(tasks).values();
  return sums.map((sum, index) =>
    isChanged[index] === true ? (remeasured.next().value ?? NO_SUMS) : sum,
  );
}

function measureTask(step: Active, clipScale: number): KernelTask {
  const { layer, values, plan, isFirst } = step;
  const history = { gradientScale: step.gradScale * clipScale, isFirst };
  return {
    arrays: {
      weights: layer.parameter.data,
      gradient: layer.parameter.grad!,
      momentum: plan.ofDirection ? null : layer.momentum,
    },
    equation: plan.ofDirection
      ? directionEquation(values, history)
      : unscaledEquation(values, history),
    sums: plan.measure,
  };
}

/** @throws NonFiniteGradientError where a group says so */
function areFinite(active: readonly Active[], sums: readonly SumsOfSquares[]): boolean {
  const broken = active.filter((_, index) => !Number.isFinite(sums[index]!.gradient));
  const thrown = broken.find(({ values }) => values.nonFinite === "throw");
  if (thrown !== undefined) throw new NonFiniteGradientError(thrown.layer.label);
  return broken.length === 0;
}

/** Percentile clipping, then global clipping. */
function clip(active: readonly Active[], sums: readonly SumsOfSquares[]): Clips {
  const scales: number[] = [];
  const histories: (Float64Array | null)[] = [];
  active.forEach((step, index) => {
    const { scale, history } = percentileClip(step, sums[index]!);
    scales.push(scale);
    histories.push(history);
  });
  if (active.some(({ values }) => values.maxGradNorm !== null)) {
    clipTogether(active, sums, scales);
  }
  return { scales, histories };
}

function percentileClip(
  step: Active,
  sums: SumsOfSquares,
): { readonly scale: number; readonly history: Float64Array | null } {
  const { layer, values } = step;
  if (values.percentileClipping === PERCENTILE_OFF) {
    return { scale: 1, history: layer.gradientHistory };
  }
  return clipToPercentile(
    layer.gradientHistory,
    layer.stepCount + 1,
    gradientNorm(step, sums) ** 2,
    values.percentileClipping,
  );
}

/** The norm is taken over all layers; a group's own limit holds for its layers. */
function clipTogether(
  active: readonly Active[],
  sums: readonly SumsOfSquares[],
  scales: number[],
): void {
  const norm = globalNorm(
    active.map((step, index) => scales[index]! * gradientNorm(step, sums[index]!)),
  );
  active.forEach(({ values: { maxGradNorm } }, index) => {
    if (maxGradNorm !== null) scales[index]! *= globalClipScale(norm, maxGradNorm);
  });
}

function ratio(step: Active, sums: SumsOfSquares, clipScale: number): number {
  const { values, learningRate } = step;
  return trustRatioOf(
    values.trustRatio,
    {
      weight: Math.sqrt(sums.weights),
      gradient: clipScale * gradientNorm(step, sums),
      update: Math.sqrt(sums.update),
    },
    { weightDecay: values.weightDecay, learningRate },
  );
}

/** What was decided for each layer. */
interface Decisions {
  readonly clips: Clips;
  readonly ratios: readonly number[];
}

/** Allocates momenta, writes weights and momenta, then counts and histories, and returns the sums of the apply pass. */
function apply(kernel: Kernel, active: readonly Active[], decisions: Decisions): SumsOfSquares[] {
  const momenta = makeMomenta(
    active,
    ({ layer, values }) =>
      momentumAs(
        wantedMomentum(values, layer.parameter.size),
        layer.momentum,
        layer.parameter,
        kernel,
      ),
    { kept: ({ layer }) => layer.momentum, kernel },
  );
  const sums = kernel.apply(
    active.map((step, index) => ({
      arrays: {
        weights: step.layer.parameter.data,
        gradient: step.layer.parameter.grad!,
        momentum: momenta[index]!,
      },
      equation: updateEquation(step.values, {
        learningRate: step.learningRate,
        gradientScale: step.gradScale * decisions.clips.scales[index]!,
        trustRatio: decisions.ratios[index]!,
        isFirst: step.isFirst,
      }),
      sums: step.plan.apply,
    })),
  );
  active.forEach(({ layer }, index) => {
    setMomentum(layer, momenta[index]!, kernel);
    layer.stepCount++;
    layer.gradientHistory = decisions.clips.histories[index]!;
  });
  return sums;
}

/** Replaces a momentum and frees the old one. */
export function setMomentum(layer: Layer, next: Layer["momentum"], kernel: Kernel): void {
  if (next === layer.momentum) return;
  if (layer.momentum !== null) kernel.releaseMomentum(layer.momentum);
  layer.momentum = next;
}

/** ‖gradScale·g‖ of one layer. */
function gradientNorm({ gradScale }: Active, sums: SumsOfSquares): number {
  return gradScale * Math.sqrt(sums.gradient);
}

function globalNorm(norms: readonly number[]): number {
  return Math.sqrt(norms.reduce((sum, norm) => sum + norm * norm, 0));
}

function report(
  active: readonly Active[],
  results: Decisions & { norms: readonly SumsOfSquares[]; applied: readonly SumsOfSquares[] },
): StepOutcome {
  const { norms, clips, ratios, applied } = results;
  const layers = active.map((step, index): LayerReport => {
    return {
      name: step.layer.label,
      weightNorm: weightNorm(step.plan, norms[index]!, applied[index]!),
      gradNorm: gradientNorm(step, norms[index]!),
      updateNorm: updateNorm(step.plan, norms[index]!, applied[index]!),
      trustRatio: ratios[index]!,
      clipScale: clips.scales[index]!,
    };
  });
  return { skipped: false, gradNorm: globalNorm(layers.map(({ gradNorm }) => gradNorm)), layers };
}

function reportSkipped(active: readonly Active[], sums: readonly SumsOfSquares[]): StepOutcome {
  const layers = active.map((step, index): LayerReport => {
    return {
      name: step.layer.label,
      weightNorm: weightNorm(step.plan, sums[index]!, NO_SUMS),
      gradNorm: gradientNorm(step, sums[index]!),
      updateNorm: 0,
      trustRatio: 0,
      clipScale: 0,
    };
  });
  return { skipped: true, gradNorm: globalNorm(layers.map(({ gradNorm }) => gradNorm)), layers };
}
