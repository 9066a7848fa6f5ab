import type { TrustRatioRule } from "./rule.js";

/** No trust ratio: SGD with momentum. */
export interface None {
  readonly rule: "none";
}

export const none: TrustRatioRule<None> = {
  defaults: { rule: "none" },
  fields: {},
  measures: () => ({ weights: false, update: "nothing" }),
  placement: () => "after",
  quotient: () => null,
};
