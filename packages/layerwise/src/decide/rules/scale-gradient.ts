import { ratioWhenZero, WHEN_ZERO } from "./rule.js";
import type { TrustRatioRule, WhenZero } from "./rule.js";

/**
 * The gradient scaled to the weights before the momentum: r = coefficient·‖w‖ / D.
 *
 * Source: You, Gitman, Ginsburg 2017 (arXiv 1708.03888), section 5 and algorithm 1. The variants are
 * those of timm, Apex LARC, optax, MLPerf, torchlars, Paddle and kozistr's pytorch_optimizer.
 */
export interface ScaleGradient {
  readonly rule: "scale-gradient";
  /** η ≥ 0. Default 0.001. */
  readonly coefficient: number;
  /** ε ≥ 0. Default 0. */
  readonly eps: number;
  /**
   * D: "sum" ‖g‖ + λ‖w‖ + ε (paper, timm, Apex, MLPerf, torchlars, Paddle); "joint" ‖g + λw‖ + ε (optax,
   * SimCLR); "gradient" ‖g‖ + ε (kozistr). Default "sum".
   */
  readonly denominator: "sum" | "joint" | "gradient";
  /** r ← min(r/γ, 1): the effective rate is min(γ, r) (Apex LARC, timm's trust_clip). Default false. */
  readonly clip: boolean;
  /**
   * "classic": the momentum holds γ·r·d (paper, optax, MLPerf, Paddle, MXNet); "torch": it holds r·d, and γ
   * multiplies the momentum (timm, Apex). They differ when γ changes. Default "classic".
   */
  readonly momentumOrder: "classic" | "torch";
  /** Default "unit". */
  readonly whenZero: WhenZero;
}

export const scaleGradient: TrustRatioRule<ScaleGradient> = {
  defaults: {
    rule: "scale-gradient",
    coefficient: 0.001,
    eps: 0,
    denominator: "sum",
    clip: false,
    momentumOrder: "classic",
    whenZero: "unit",
  },
  fields: {
    coefficient: "non-negative",
    eps: "non-negative",
    denominator: ["sum", "joint", "gradient"],
    clip: "boolean",
    momentumOrder: ["classic", "torch"],
    whenZero: WHEN_ZERO,
  },
  measures: ({ denominator }) => ({
    weights: true,
    update: denominator === "joint" ? "direction" : "nothing",
  }),
  placement: ({ momentumOrder }) => (momentumOrder === "classic" ? "classic" : "before"),
  quotient: ({ coefficient, eps, denominator, clip, whenZero }, { weightDecay, learningRate }) => ({
    coefficient,
    gradient: denominator === "joint" ? 0 : 1,
    weight: denominator === "sum" ? weightDecay : 0,
    update: denominator === "joint" ? 1 : 0,
    eps,
    // min(r/γ, 1), also for γ = 0, where the step is 0 whatever r is.
    limit: clip ? learningRate : null,
    // Unclipped: r = 1 stands for "no adaptation", as in Apex LARC.
    whenZero: ratioWhenZero(whenZero),
  }),
};
