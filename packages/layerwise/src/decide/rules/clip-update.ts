import { ratioWhenZero, WHEN_ZERO } from "./rule.js";
import type { TrustRatioRule, WhenZero } from "./rule.js";

/**
 * An upper limit on the update relative to the weights: r = min(1, maxUnorm·‖w‖ / ‖u‖).
 *
 * Source: bitsandbytes, `PytorchLARS` and the kernels' `max_unorm`.
 */
export interface ClipUpdate {
  readonly rule: "clip-update";
  /** The largest ‖u‖ / ‖w‖ that passes unscaled, ≥ 0; 0 is off. Default 0.02. */
  readonly maxUnorm: number;
  /** Default "unit". */
  readonly whenZero: WhenZero;
}

export const clipUpdate: TrustRatioRule<ClipUpdate> = {
  defaults: { rule: "clip-update", maxUnorm: 0.02, whenZero: "unit" },
  fields: { maxUnorm: "non-negative", whenZero: WHEN_ZERO },
  measures: ({ maxUnorm }) =>
    maxUnorm === 0 ? { weights: false, update: "nothing" } : { weights: true, update: "update" },
  placement: () => "after",
  quotient: ({ maxUnorm, whenZero }) =>
    maxUnorm === 0
      ? null
      : {
          coefficient: maxUnorm,
          gradient: 0,
          weight: 0,
          update: 1,
          eps: 0,
          limit: 1,
          whenZero: ratioWhenZero(whenZero),
        },
};
