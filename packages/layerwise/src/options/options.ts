/** From options as users write them to complete, checked hyperparameters. */
import {
  checkBoolean,
  checkChoice,
  checkFields,
  checkFraction,
  checkInteger,
  checkNames,
  checkNonNegative,
  checkNumber,
  checkObject,
  checkPositive,
  shown,
} from "../check.js";
import { PERCENTILE_OFF } from "../decide/percentile-clipping.js";
import type { FieldKind } from "../decide/rules/rule.js";
import { defaultsOf, ruleOf, trustRatioNames } from "../decide/trust-ratio.js";
import type { TrustRatio, TrustRatioName } from "../decide/trust-ratio.js";
import type { Schedule } from "./schedules.js";

/** A rule with its name and the fields that differ from the defaults. */
export type TrustRatioFields<Rule = TrustRatio> = Rule extends TrustRatio
  ? Pick<Rule, "rule"> & Partial<Rule>
  : never;

/** A trust-ratio rule by its name, or with fields. */
export type TrustRatioOption = TrustRatioName | TrustRatioFields;

/** The five options that bitsandbytes takes in one `args` object. */
export interface Args {
  optimBits?: 8 | 32;
  percentileClipping?: number;
  min8bitSize?: number;
  maxUnorm?: number;
  skipZeros?: boolean;
}

/** Options of {@link LARS}. A parameter group may set any of them too. */
export interface LARSOptions {
  /** γ: a number ≥ 0, or a schedule that maps a step, counted from 0, to its rate. */
  lr: number | Schedule;
  /** μ in [0, 1). 0 keeps no state. Default 0. */
  momentum?: number;
  /** τ in [0, 1): m = μ·m + (1 − τ)·d after a layer's first step. Default 0. */
  dampening?: number;
  /** λ ≥ 0, added to the gradient as λ·w. Default 0. */
  weightDecay?: number;
  /** Nesterov momentum: u = d + μ·m. Needs momentum > 0 and dampening 0. Default false. */
  nesterov?: boolean;
  /** Bits of the momentum: 32, or 8 in blocks of 256. Default 32. */
  optimBits?: 8 | 32;
  /** Overrides the options of the same names, for configurations kept in one object. Default null. */
  args?: Args | null;
  /** Layers with fewer elements keep 32-bit momentum. Default 4096. */
  min8bitSize?: number;
  /**
   * Limits each gradient to this percentile of the layer's last 100 gradient norms: a whole number
   * from 1 to 100. Default 100, off.
   */
  percentileClipping?: number;
  /** Short for the rule `clip-update`: the largest ‖u‖ / ‖w‖, ≥ 0; 0 is off. Default 0.02. */
  maxUnorm?: number;
  /** The trust-ratio rule. Default: `clip-update` with `maxUnorm`. Give this or `maxUnorm`, not both. */
  trustRatio?: TrustRatioOption;
  /** Limits the norm of all gradients together, > 0. Default: null, off. */
  maxGradNorm?: number | null;
  /** Elements whose gradient is exactly 0 keep weight and momentum. Default false. */
  skipZeros?: boolean;
  /**
   * What a NaN or ±Infinity in a gradient does: "throw" throws an error that names the layer, "skip" reports the
   * step as skipped. Either way nothing is written. Default "throw".
   */
  nonFinite?: "throw" | "skip";
}

/** Complete, checked options of a group. */
export interface Hyperparameters {
  lr: number | Schedule;
  momentum: number;
  dampening: number;
  weightDecay: number;
  nesterov: boolean;
  optimBits: 8 | 32;
  min8bitSize: number;
  percentileClipping: number;
  trustRatio: TrustRatio;
  maxGradNorm: number | null;
  skipZeros: boolean;
  nonFinite: "throw" | "skip";
}

/** The defaults; only `lr` has none. */
export const DEFAULTS: Omit<Hyperparameters, "lr"> = {
  momentum: 0,
  dampening: 0,
  weightDecay: 0,
  nesterov: false,
  optimBits: 32,
  min8bitSize: 4096,
  percentileClipping: PERCENTILE_OFF,
  trustRatio: defaultsOf("clip-update"),
  maxGradNorm: null,
  skipZeros: false,
  nonFinite: "throw",
};

const ARGS_NAMES = [
  "optimBits",
  "percentileClipping",
  "min8bitSize",
  "maxUnorm",
  "skipZeros",
] as const satisfies readonly (keyof Args)[];

const OPTION_NAMES = ["lr", ...Object.keys(DEFAULTS), "maxUnorm", "args"];

/**
 * Options whose names are checked, without those that are undefined, which count as left out.
 *
 * @throws TypeError for anything but an object, and for a name that is no option's
 */
export function namedOptions(what: string, options: unknown): Record<string, unknown> {
  return defined(checkFields(what, options, OPTION_NAMES));
}

/** Options with `args` laid over them. */
function flattened(what: string, options: unknown): Record<string, unknown> {
  const given = namedOptions(what, options);
  const { args = null, ...rest } = given;
  if (args === null) return rest;
  return { ...rest, ...defined(checkFields("args", args, ARGS_NAMES)) };
}

function defined(object: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}

/**
 * Lays options over inherited hyperparameters and checks the result.
 *
 * @param what where the options stand, for error messages
 * @param inherited what holds where the options say nothing; without it, `lr` is required
 * @throws TypeError or RangeError that names the option, what was expected and the value
 */
export function resolveOptions(
  what: string,
  options: unknown,
  inherited: Partial<Hyperparameters> = DEFAULTS,
): Hyperparameters {
  const given = flattened(what, options);
  const { maxUnorm, trustRatio, ...rest } = given;
  if (maxUnorm !== undefined && trustRatio !== undefined)
    throw bothRulesError(maxUnorm, trustRatio);
  if (!("lr" in given) && inherited.lr === undefined) {
    throw new TypeError(`${what}: lr: expected a number ≥ 0 or a schedule, got none`);
  }
  const merged = { ...inherited, ...rest } as Hyperparameters;
  if (maxUnorm !== undefined) merged.trustRatio = clipUpdateWith(maxUnorm);
  if (trustRatio !== undefined) merged.trustRatio = resolveTrustRatio(trustRatio);
  return checkHyperparameters(merged);
}

/** The refusal of two rules at once. */
export function bothRulesError(maxUnorm: unknown, trustRatio: unknown): TypeError {
  return new TypeError(
    `maxUnorm and trustRatio: expected one of them, got ${shown(maxUnorm)} and ${shown(trustRatio)}; maxUnorm is short for trustRatio { rule: "clip-update", maxUnorm }`,
  );
}

/** The rule that `maxUnorm` is short for. */
export function clipUpdateWith(maxUnorm: unknown): TrustRatio {
  return resolveTrustRatio({
    rule: "clip-update",
    maxUnorm: checkNonNegative("maxUnorm", maxUnorm),
  });
}

/** A rule with all its fields, checked. */
export function resolveTrustRatio(option: unknown): TrustRatio {
  const given = typeof option === "string" ? { rule: option } : checkObject("trustRatio", option);
  const name = checkChoice("trustRatio.rule", given.rule, trustRatioNames);
  const resolved = { ...defaultsOf(name), ...defined(given) };
  const fields = ruleOf(resolved).fields as Readonly<Record<string, FieldKind>>;
  checkNames(`trustRatio "${name}"`, given, ["rule", ...Object.keys(fields)]);
  for (const [field, kind] of Object.entries(fields)) {
    const value = (resolved as unknown as Record<string, unknown>)[field];
    const label = `trustRatio.${field}`;
    if (kind === "boolean") checkBoolean(label, value);
    else if (kind === "non-negative") checkNonNegative(label, value);
    else checkChoice(label, value, kind);
  }
  return resolved;
}

/** The names that a live group has; `params` are fixed. */
export const GROUP_NAMES: readonly string[] = [
  "params",
  ...OPTION_NAMES.filter((name) => name !== "args"),
];

/** Checks every value, and the values against each other. */
export function checkHyperparameters(values: Hyperparameters): Hyperparameters {
  if (typeof values.lr !== "function") {
    checkNumber(
      "lr",
      values.lr,
      (lr) => Number.isFinite(lr) && lr >= 0,
      "a finite number ≥ 0 or a schedule (step) => rate",
    );
  }
  checkFraction("momentum", values.momentum);
  checkFraction("dampening", values.dampening);
  checkNonNegative("weightDecay", values.weightDecay);
  checkBoolean("nesterov", values.nesterov);
  checkChoice("optimBits", values.optimBits, [8, 32]);
  checkInteger("min8bitSize", values.min8bitSize, 0);
  checkInteger("percentileClipping", values.percentileClipping, 1, PERCENTILE_OFF);
  if (values.maxGradNorm !== null) checkPositive("maxGradNorm", values.maxGradNorm);
  checkBoolean("skipZeros", values.skipZeros);
  checkChoice("nonFinite", values.nonFinite, ["throw", "skip"]);
  checkNesterov(values);
  checkDampening(values);
  return values;
}

function checkNesterov({ nesterov, momentum, dampening }: Hyperparameters): void {
  if (nesterov && (momentum === 0 || dampening !== 0)) {
    throw new RangeError(
      `nesterov: expected momentum > 0 and dampening 0 with it, got momentum ${String(momentum)} and dampening ${String(dampening)}`,
    );
  }
}

function checkDampening({ dampening, trustRatio }: Hyperparameters): void {
  if (dampening !== 0 && ruleOf(trustRatio).placement(trustRatio) === "classic") {
    throw new RangeError(
      `dampening: expected 0 with momentumOrder "classic", got ${String(dampening)}; momentumOrder "torch" takes any`,
    );
  }
}
