import { ratioWhenZero, WHEN_ZERO } from "./rule.js";
import type { TrustRatioRule, WhenZero } from "./rule.js";

/**
 * The update scaled to the weights: r = coefficient·‖w‖ / (‖u‖ + eps), after the momentum.
 *
 * Source: SimCLR's `LARSOptimizer` with `classic_momentum` off.
 */
export interface ScaleUpdate {
  readonly rule: "scale-update";
  /** η ≥ 0. Default 0.001. */
  readonly coefficient: number;
  /** ε ≥ 0. Default 0. */
  readonly eps: number;
  /** Default "unit". */
  readonly whenZero: WhenZero;
}

export const scaleUpdate: TrustRatioRule<ScaleUpdate> = {
  defaults: { rule: "scale-update", coefficient: 0.001, eps: 0, whenZero: "unit" },
  fields: { coefficient: "non-negative", eps: "non-negative", whenZero: WHEN_ZERO },
  measures: () => ({ weights: true, update: "update" }),
  placement: () => "after",
  quotient: ({ coefficient, eps, whenZero }) => ({
    coefficient,
    gradient: 0,
    weight: 0,
    update: 1,
    eps,
    limit: null,
    whenZero: ratioWhenZero(whenZero),
  }),
};
