/** What a trust-ratio rule is: plain arithmetic over the norms of one layer. */

/** The norms of one layer in one step. */
export interface LayerNorms {
  /** ‖w‖ before the step. */
  readonly weight: number;
  /** ‖c·g‖: after gradScale and clipping. */
  readonly gradient: number;
  /** ‖u‖ or ‖d‖, whichever {@link TrustRatioRule.measures} asks for; 0 if it asks for neither. */
  readonly update: number;
}

/** The numbers that rules weigh the norms by. Rules only pass γ on, so it may be an array of a device. */
export interface StepFactors<Rate = number> {
  readonly weightDecay: number;
  /** γ, the learning rate of this step. */
  readonly learningRate: Rate;
}

/**
 * A rule in one step, as numbers:
 *
 *     r = coefficient·‖w‖ / (gradient·‖c·g‖ + weight·‖w‖ + update·‖u‖ + eps)
 *     r ← min(r / limit, 1), unless limit is null
 *
 * So a rule stands in its own file, and whoever evaluates it, on numbers or on arrays of a device, knows no rule.
 */
export interface Quotient<Rate = number> {
  readonly coefficient: number;
  /** What multiplies ‖c·g‖, ‖w‖ and ‖u‖ (or ‖d‖) in the denominator, and what is added. */
  readonly gradient: number;
  readonly weight: number;
  readonly update: number;
  readonly eps: number;
  /** ≥ 0: a number, or γ as it was given. A ratio at or above it becomes 1. */
  readonly limit: number | Rate | null;
  /** What stands for the ratio where ‖w‖ or the denominator is 0. */
  readonly whenZero: number;
}

/** What a layer gets whose norms give no ratio: "unit" r = 1, "freeze" r = 0. */
export type WhenZero = "unit" | "freeze";

/**
 * What a field of a rule may be: a choice of strings, a flag, or a number ≥ 0. Options are checked
 * against it.
 */
export type FieldKind = readonly string[] | "boolean" | "non-negative";

export interface TrustRatioRule<Fields> {
  readonly defaults: Fields;
  /** Every field but `rule` itself, and what it may be. */
  readonly fields: Readonly<Required<Record<Exclude<keyof Fields, "rule">, FieldKind>>>;
  /** The norms that the ratio needs: of w, and of the direction d or the update u. */
  measures(fields: Fields): { weights: boolean; update: "direction" | "update" | "nothing" };
  /** Where the ratio goes: into d before the momentum (classic: together with γ), or into the step. */
  placement(fields: Fields): "classic" | "before" | "after";
  /** The ratio; null: it is 1. */
  quotient<Rate>(fields: Fields, factors: StepFactors<Rate>): Quotient<Rate> | null;
}

export const WHEN_ZERO: readonly WhenZero[] = ["unit", "freeze"];

/**
 * A layer at zero, or a quotient with a zero denominator, says nothing about the scale of a step. Then the step
 * is unscaled, so that a bias that starts at 0 learns (LARC, timm and optax do the same). With "freeze" it does not
 * move, as in bitsandbytes.
 */
export function ratioWhenZero(whenZero: WhenZero): number {
  return whenZero === "freeze" ? 0 : 1;
}
