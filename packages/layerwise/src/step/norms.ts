/** Which pass takes which norm. */
import type { TrustRatio } from "../decide/trust-ratio.js";
import { ruleOf } from "../decide/trust-ratio.js";
import type { SumsOfSquares, SumsWanted } from "../kernels/kernel.js";

/** The sums of both passes, of which a report shows ‖w‖ and ‖u‖ once. */
export interface NormPlan {
  /** What the measure pass takes: the norms of the trust ratio. */
  readonly measure: SumsWanted;
  /** The norms that the report wants besides, which the apply pass takes on its way. */
  readonly apply: SumsWanted;
  /** The measured update is d, not u: see TrustRatioRule.measures. */
  readonly ofDirection: boolean;
}

export function normPlan(trustRatio: TrustRatio): NormPlan {
  const { weights, update } = ruleOf(trustRatio).measures(trustRatio);
  return {
    measure: { weights, update: update !== "nothing" },
    apply: { weights: !weights, update: update !== "update" },
    ofDirection: update === "direction",
  };
}

/** ‖w‖ for the report, from the pass that has taken it. */
export function weightNorm(
  { apply }: NormPlan,
  measured: SumsOfSquares,
  applied: SumsOfSquares,
): number {
  return Math.sqrt((apply.weights ? applied : measured).weights);
}

/** ‖u‖ for the report, from the pass that has taken it. */
export function updateNorm(
  { apply }: NormPlan,
  measured: SumsOfSquares,
  applied: SumsOfSquares,
): number {
  return Math.sqrt((apply.update ? applied : measured).update);
}
