/** The adapter's options: the core's, and those that differ between variables. */
import { checkBoolean, checkObject, shown } from "../../check.js";
import { EXCLUDED, isUsuallyExcluded } from "../../options/exclusion.js";
import { checkBitsOfGroup, FIXED_BITS, withFixedBits } from "../../options/fixed-bits.js";
import type { ClassName } from "../../options/fixed-bits.js";
import { resolveOptions } from "../../options/options.js";
import type { Hyperparameters, LARSOptions } from "../../options/options.js";

/** A trainable variable, as options choose it. */
export interface VariableInfo {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Options for the variables whose name matches: a regular expression, or the exact name. */
export interface VariablePattern extends Partial<LARSOptions> {
  name: RegExp | string;
}

/** Options by variable: a list of patterns, of which later ones override earlier ones, or a function. */
export type VariableOptions =
  | readonly VariablePattern[]
  | ((variable: VariableInfo) => Partial<LARSOptions> | null | undefined);

/** Options of the optimizers for TensorFlow.js. */
export interface TensorFlowLARSOptions extends LARSOptions {
  /**
   * Variables with fewer than 2 dimensions (biases, normalization) get neither trust ratio nor weight decay.
   * Default false.
   */
  excludeFromAdaptation?: boolean;
  /** Options by variable, which override all others. Default: none. */
  variableOptions?: VariableOptions;
}

/** The adapter's own options, checked, apart from the core's. */
export interface SplitOptions {
  readonly core: LARSOptions;
  readonly excludeFromAdaptation: boolean;
  readonly variableOptions: VariableOptions;
}

/** @throws TypeError that names the option, what was expected, and the value */
export function splitOptions(given: unknown): SplitOptions {
  const {
    excludeFromAdaptation: exclude = false,
    variableOptions = [],
    ...options
  } = checkObject("options", given);
  return {
    core: options as unknown as LARSOptions,
    excludeFromAdaptation: checkBoolean("excludeFromAdaptation", exclude),
    variableOptions: checkVariableOptions(variableOptions),
  };
}

export function checkVariableOptions(value: unknown): VariableOptions {
  if (typeof value === "function") return value as VariableOptions;
  if (!Array.isArray(value)) {
    throw new TypeError(
      `variableOptions: expected a function or a list of { name, ...options }, got ${shown(value)}`,
    );
  }
  return value.map((pattern: unknown, index) => {
    const what = `variableOptions[${String(index)}]`;
    const { name } = checkObject(what, pattern);
    if (typeof name === "string" || name instanceof RegExp) return pattern as VariablePattern;
    throw new TypeError(
      `${what}.name: expected a regular expression or a variable's name, got ${shown(name)}`,
    );
  });
}

/** What a variable's options are, beside those of the optimizer. */
export function optionsOf(variable: VariableInfo, options: SplitOptions): Partial<LARSOptions> {
  const own: Partial<LARSOptions>[] = [];
  if (options.excludeFromAdaptation && isUsuallyExcluded(variable)) own.push(EXCLUDED);
  if (typeof options.variableOptions === "function") {
    own.push(options.variableOptions(variable) ?? {});
  } else {
    for (const { name, ...rest } of options.variableOptions) {
      if (typeof name === "string" ? name === variable.name : matches(name, variable.name)) {
        own.push(rest);
      }
    }
  }
  return own.reduce((merged, next) => overlaid(merged, next), {});
}

/** Not `test`, which remembers where it was under the flags g and y. */
function matches(pattern: RegExp, name: string): boolean {
  return name.search(pattern) >= 0;
}

/** A rule replaces a rule, under either of its two names. */
function overlaid(below: Partial<LARSOptions>, above: Partial<LARSOptions>): Partial<LARSOptions> {
  const { trustRatio, maxUnorm, ...rest } = below;
  const replaced = above.trustRatio !== undefined || above.maxUnorm !== undefined;
  return {
    ...rest,
    ...(replaced || trustRatio === undefined ? {} : { trustRatio }),
    ...(replaced || maxUnorm === undefined ? {} : { maxUnorm }),
    ...above,
  };
}

/**
 * The checked hyperparameters of a variable, by the core's rules.
 *
 * @throws TypeError or RangeError that names the option, what was expected, and the value
 */
export function hyperparametersOf(
  className: ClassName,
  options: LARSOptions,
  own: Partial<LARSOptions> = {},
): Hyperparameters {
  const bits = { className, fixedBits: FIXED_BITS[className] };
  const all = resolveOptions("options", withFixedBits(options, bits));
  const values = resolveOptions("variableOptions", own, all);
  checkBitsOfGroup(values, bits);
  return values;
}

/** JSON that TensorFlow.js writes into a saved model. */
export type Config = Record<string, unknown>;

/** What stands for a function in a saved model. */
const FUNCTION = "function";

/**
 * Options as JSON. Functions become the word "function"; a pattern is its source and flags, under the key
 * `name`, the only one whose strings TensorFlow.js leaves as they are (others lose their underscores).
 */
export function toConfig(options: SplitOptions): Config {
  return {
    ...jsonOptions(options.core),
    excludeFromAdaptation: options.excludeFromAdaptation,
    variableOptions:
      typeof options.variableOptions === "function"
        ? FUNCTION
        : options.variableOptions.map(({ name, ...rest }) => ({
            ...(name instanceof RegExp ? { name: name.source, flags: name.flags } : { name }),
            ...jsonOptions(rest),
          })),
  };
}

function jsonOptions(options: Partial<LARSOptions>): Config {
  return typeof options.lr === "function" ? { ...options, lr: FUNCTION } : { ...options };
}

/** Options from JSON. A function that was not saved throws when it is first called, and says how to set it. */
export function fromConfig(config: unknown): TensorFlowLARSOptions {
  // tfjs-layers adds customObjects to every configuration that it restores.
  // eslint-disable-next-line @typescript-eslint/no-unused-vars -- left out of the rest
  const { customObjects: _, variableOptions, ...options } = checkObject("config", config);
  const patterns =
    variableOptions === FUNCTION
      ? lostFunction("variableOptions", "variableOptions")
      : Array.isArray(variableOptions)
        ? variableOptions.map(revivedPattern)
        : undefined;
  return {
    ...revived(options, "learningRate"),
    ...(patterns === undefined ? {} : { variableOptions: patterns }),
  } as unknown as TensorFlowLARSOptions;
}

function revivedPattern(pattern: unknown): Config {
  const { name, flags, ...options } = checkObject("config: variableOptions", pattern);
  return {
    ...revived(options, "variableOptions"),
    name: typeof name === "string" && typeof flags === "string" ? new RegExp(name, flags) : name,
  };
}

function revived(options: Config, property: string): Config {
  return options.lr === FUNCTION ? { ...options, lr: lostFunction("lr", property) } : options;
}

function lostFunction(option: string, property: string): () => never {
  return () => {
    throw new TypeError(
      `${option}: was a function when the model was saved, and functions can't be saved; set optimizer.${property} again before the first step`,
    );
  };
}
