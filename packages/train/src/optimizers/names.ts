/** The optimizers that are compared, by name. */

/** Update rules. `lars` and `lars32bit` give the same run; both names are bitsandbytes'. */
export const RULES = ["sgd", "sgd-nesterov", "adamw", "lars", "lars8bit", "lars32bit"] as const;

export type Rule = (typeof RULES)[number];

/** Suffix of an optimizer whose gradient norm is limited; the limit is searched with the rate. */
const CLIPPED = "+clip";

export type OptimizerName = Rule | `${Rule}${typeof CLIPPED}`;

export const OPTIMIZERS: readonly OptimizerName[] = [
  ...RULES,
  ...RULES.map((rule) => `${rule}${CLIPPED}` as const),
];

/** sgd+clip → sgd. */
export function ruleOf(name: OptimizerName): Rule {
  return RULES.find((rule) => rule === name || `${rule}${CLIPPED}` === name)!;
}

/** Whether the name asks for a limit of the gradients' norm. */
export function isClipped(name: OptimizerName): boolean {
  return name.endsWith(CLIPPED);
}

/** Whether layers have trust ratios. */
export function isLars(name: OptimizerName): boolean {
  return ruleOf(name).startsWith("lars");
}

/** Pairs of a list whose runs are the same: `lars` is another name of `lars32bit`. */
export function samePairs(names: readonly OptimizerName[]): [OptimizerName, OptimizerName][] {
  const other = (name: OptimizerName): OptimizerName =>
    isClipped(name) ? `lars32bit${CLIPPED}` : "lars32bit";
  return names
    .filter((name) => ruleOf(name) === "lars" && names.includes(other(name)))
    .map((name) => [name, other(name)]);
}
