/** Parameter groups: live, as in PyTorch. Changes apply from the next step. */
import { checkNames, checkObject, refusal, shown } from "../check.js";
import type { TrustRatio } from "../decide/trust-ratio.js";
import { EXCLUDED, isUsuallyExcluded } from "../options/exclusion.js";
import {
  checkHyperparameters,
  clipUpdateWith,
  GROUP_NAMES,
  resolveOptions,
  resolveTrustRatio,
} from "../options/options.js";
import type { Hyperparameters, LARSOptions, TrustRatioOption } from "../options/options.js";
import type { Schedule } from "../options/schedules.js";
import { checkedParameter, isParameter } from "./parameter.js";
import type { Parameter } from "./parameter.js";

/** A group as a user writes it: parameters, and the options that differ from the optimizer's. */
export interface ParamGroupOptions extends Partial<LARSOptions> {
  params: readonly Parameter[];
}

/**
 * A group of an optimizer. Options can change at any time. The next step checks names and values before it
 * writes anything; `trustRatio` and `maxUnorm` are checked when they are set. Parameters are fixed: add a group for more.
 */
export class ParamGroup {
  declare readonly params: readonly Parameter[];
  declare lr: number | Schedule;
  declare momentum: number;
  declare dampening: number;
  declare weightDecay: number;
  declare nesterov: boolean;
  declare optimBits: 8 | 32;
  declare min8bitSize: number;
  declare percentileClipping: number;
  declare maxGradNorm: number | null;
  declare skipZeros: boolean;
  declare nonFinite: "throw" | "skip";
  #trustRatio: TrustRatio;

  /** @internal Groups are made by the optimizer. */
  constructor(params: readonly Parameter[], { trustRatio, ...values }: Hyperparameters) {
    Object.defineProperty(this, "params", { value: params, enumerable: true, writable: false });
    this.#trustRatio = trustRatio;
    Object.assign(this, values);
    // If the property were only on the prototype, a copy { ...group } would lack the rule.
    const trustRatioProperty = Object.getOwnPropertyDescriptor(ParamGroup.prototype, "trustRatio");
    Object.defineProperty(this, "trustRatio", { ...trustRatioProperty, enumerable: true });
  }

  /** The rule with all its fields. */
  get trustRatio(): TrustRatio {
    return this.#trustRatio;
  }

  set trustRatio(option: TrustRatioOption) {
    this.#trustRatio = resolveTrustRatio(option);
  }

  /** The limit of the rule `clip-update`; 0 under any other rule. Setting it sets that rule. */
  get maxUnorm(): number {
    return this.#trustRatio.rule === "clip-update" ? this.#trustRatio.maxUnorm : 0;
  }

  set maxUnorm(limit: number) {
    this.#trustRatio = clipUpdateWith(limit);
  }

  /** The current options. @throws TypeError or RangeError for a wrong value or an unknown name */
  hyperparameters(): Hyperparameters {
    checkNames("parameter group", this as unknown as Record<string, unknown>, GROUP_NAMES);
    const own = { trustRatio: this.#trustRatio };
    return checkHyperparameters(Object.assign(own, this as Omit<Hyperparameters, "trustRatio">));
  }
}

/** A group from what a user wrote, with the optimizer's hyperparameters for the rest. */
export function createParamGroup(given: unknown, inherited: Hyperparameters): ParamGroup {
  const { params, ...options } = checkObject("parameter group", given);
  return new ParamGroup(
    checkParameters("parameter group: params", params),
    resolveOptions("parameter group", options, inherited),
  );
}

/**
 * The groups of a constructor's first argument: a list of parameters, or of groups.
 *
 * @throws TypeError for an empty list or anything else
 */
export function createParamGroups(params: unknown, inherited: Hyperparameters): ParamGroup[] {
  const list = checkList("params", params);
  if (isParameter(list[0])) {
    return [new ParamGroup(checkParameters("params", list), inherited)];
  }
  return list.map((group) => createParamGroup(group, inherited));
}

function checkList(name: string, value: unknown): readonly unknown[] {
  const isIterable =
    typeof value === "object" &&
    value !== null &&
    Symbol.iterator in value &&
    !ArrayBuffer.isView(value);
  const list = isIterable ? [...(value as Iterable<unknown>)] : [];
  if (list.length === 0) {
    const got = isIterable ? "an empty list" : shown(value);
    throw new TypeError(`${name}: expected a list with at least one Parameter, got ${got}`);
  }
  return list;
}

function checkParameters(name: string, value: unknown): readonly Parameter[] {
  return Object.freeze(
    checkList(name, value).map((parameter, index) =>
      checkedParameter(`${name}[${String(index)}]`, parameter),
    ),
  );
}

/**
 * Groups with the usual exclusion: biases and normalization layers get neither trust ratio nor weight
 * decay.
 *
 * Source: You et al. 2017 and every large-batch recipe since; Goyal et al. 2017 (arXiv 1706.02677), 5.1.
 *
 * @param isExcluded default: parameters with fewer than 2 dimensions
 * @returns a group of adapted and a group of excluded parameters; empty groups are left out
 * @example
 * const optimizer = new LARS(excludeFromAdaptation([weights, bias]), { lr: 1, momentum: 0.9 });
 */
export function excludeFromAdaptation(
  params: readonly Parameter[],
  isExcluded: (parameter: Parameter) => boolean = isUsuallyExcluded,
): ParamGroupOptions[] {
  const all = checkParameters("excludeFromAdaptation: params", params);
  if (typeof isExcluded !== "function") {
    throw new TypeError(
      refusal("excludeFromAdaptation: isExcluded", isExcluded, "a function (parameter) => boolean"),
    );
  }
  const groups: ParamGroupOptions[] = [
    { params: all.filter((parameter) => !isExcluded(parameter)) },
    { params: all.filter(isExcluded), ...EXCLUDED },
  ];
  return groups.filter((group) => group.params.length > 0);
}
