/**
 * The trust ratio: how far a layer's step is scaled by the size of its weights.
 *
 * One file a rule under rules/; this file has what they share, and the list of them. To add a rule:
 * write its file, add it to {@link rules} and to {@link TrustRatio}, and its equation to docs.
 */
import { clipUpdate } from "./rules/clip-update.js";
import type { ClipUpdate } from "./rules/clip-update.js";
import { none } from "./rules/none.js";
import type { None } from "./rules/none.js";
import type { LayerNorms, Quotient, StepFactors, TrustRatioRule } from "./rules/rule.js";
import { scaleGradient } from "./rules/scale-gradient.js";
import type { ScaleGradient } from "./rules/scale-gradient.js";
import { scaleUpdate } from "./rules/scale-update.js";
import type { ScaleUpdate } from "./rules/scale-update.js";

/** A rule with all its fields. */
export type TrustRatio = ClipUpdate | ScaleGradient | ScaleUpdate | None;

/** The name of a rule. */
export type TrustRatioName = TrustRatio["rule"];

const rules: {
  readonly [Name in TrustRatioName]: TrustRatioRule<Extract<TrustRatio, { rule: Name }>>;
} = {
  "clip-update": clipUpdate,
  "scale-gradient": scaleGradient,
  "scale-update": scaleUpdate,
  none,
};

/** The names of all rules, as errors list them. */
export const trustRatioNames = Object.keys(rules) as TrustRatioName[];

/** The rule that a trust ratio's name stands for. */
export function ruleOf(trustRatio: TrustRatio): TrustRatioRule<TrustRatio> {
  return rules[trustRatio.rule];
}

/** A rule's fields with their defaults. */
export function defaultsOf(name: TrustRatioName): TrustRatio {
  return rules[name].defaults;
}

/** Evaluates a layer's trust ratio. */
export function trustRatioOf(
  trustRatio: TrustRatio,
  norms: LayerNorms,
  factors: StepFactors,
): number {
  const quotient = ruleOf(trustRatio).quotient(trustRatio, factors);
  return quotient === null ? 1 : evaluate(quotient, norms);
}

function evaluate(quotient: Quotient, { weight, gradient, update }: LayerNorms): number {
  const denominator =
    quotient.gradient * gradient +
    quotient.weight * weight +
    quotient.update * update +
    quotient.eps;
  if (weight === 0 || denominator === 0) return quotient.whenZero;
  const ratio = (quotient.coefficient * weight) / denominator;
  if (quotient.limit === null) return ratio;
  return ratio >= quotient.limit ? 1 : ratio / quotient.limit;
}
