/** The rules that are timed, and the numbers that everybody uses. */

export const LEARNING_RATE = 0.1;
export const MOMENTUM = 0.9;
export const WEIGHT_DECAY = 0.01;
export const MAX_UNORM = 0.02;

/** Another number, or clipped and scaled updates would be the same. */
export const COEFFICIENT = 0.03;

/** The library's trust-ratio rules, by name. */
export const RULES = ["clip-update", "scale-gradient", "scale-update", "none"] as const;
export type RuleName = (typeof RULES)[number];

/**
 * What a rival computes: one of the library's rules; "momentum" is SGD with momentum and without weight
 * decay; "optax" is `optax.lars`, whose ratio is taken of gradient and weight decay together;
 * "bitsandbytes" is its LARS32bit: clip-update, here without weight decay.
 */
export type Computed = RuleName | "momentum" | "optax" | "bitsandbytes";

/** The library's option for a rule. */
export function trustRatioOption(rule: RuleName) {
  switch (rule) {
    case "clip-update":
      return { rule, maxUnorm: MAX_UNORM };
    case "scale-gradient":
    case "scale-update":
      return { rule, coefficient: COEFFICIENT };
    case "none":
      return { rule };
  }
}

/**
 * Bytes a parameter that a step cannot do without, once the layer fits no cache: what measuring reads
 * (gradient; weights and momentum where the rule asks for their norms), and what applying reads and
 * writes (weights, gradient, momentum; weights, momentum).
 */
export function bytesPerParameter(rule: Computed, bits: 8 | 32): number {
  const momentum = bits === 32 ? 4 : 1 + 4 / 256;
  const applied = 3 * 4 + 2 * momentum;
  switch (rule) {
    case "clip-update":
    case "scale-update":
    case "bitsandbytes":
      return 8 + momentum + applied;
    case "scale-gradient":
    case "optax":
      return 8 + applied;
    case "none":
      return 4 + applied;
    case "momentum":
      return applied;
  }
}
