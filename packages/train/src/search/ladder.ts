/** Which settings of an optimizer a search tries: rates on a ladder, and limits of the gradients' norm. */
import { presets } from "layerwise";
import { isLars, ruleOf } from "../optimizers/names.js";
import type { OptimizerName } from "../optimizers/names.js";
import { DEFAULT_TRUST_COEFFICIENT } from "../optimizers/options.js";
import type { Setting, StepOptions } from "../optimizers/options.js";

/** What is searched, and what is given. */
export interface Question {
  readonly optimizer: OptimizerName;
  readonly step: StepOptions;
  /** null: searched. */
  readonly lr: number | null;
  /** null: searched; "off": no limit. */
  readonly maxGradNorm: number | null | "off";
}

/** A place on the ladder. Halves lie between the rungs that are tried first. */
export interface Place {
  readonly rate: number;
  readonly norm: number;
}

/** A ladder: settings by their places, and where the search begins. */
export interface Ladder {
  /** The same number for every optimizer. */
  readonly places: readonly Place[];
  /** The places beside one: above and below in each direction that is searched. */
  neighbours(place: Place, distance: number): Place[];
  setting(place: Place): Setting;
}

/** Nine rates, each twice the one before, or three rates, each four times the one before, for three limits. */
const RATES = 9;
const CLIPPED_RATES = 3;
const LIMITS = 3;

/**
 * The lowest rates. Each ladder spans more than two orders of magnitude around the usual rates, whatever the data;
 * the search extends beyond its ends.
 */
const LOWEST_SGD_RATE = 0.008;
const LOWEST_ADAMW_RATE = 1e-4;
const LOWEST_LARS_RATE = 0.04;
const LOWEST_LIMIT = 0.1;
/** At the lowest limit. */
const LOWEST_CLIPPED_RATE = 0.4;
/** Where rates are given and only the limit is searched. */
const LOWEST_LONE_LIMIT = 0.02;
/** Three limits an order of magnitude apart. */
const LIMIT_FACTOR = Math.sqrt(10);

export function ladderOf(question: Question): Ladder {
  const { lr, maxGradNorm } = question;
  if (maxGradNorm !== null) {
    const limit = maxGradNorm === "off" ? null : maxGradNorm;
    return rateLadder(lr ?? lowestRate(question), limit);
  }
  return lr === null ? jointLadder(question) : limitLadder(lr);
}

function rateLadder(lowest: number, maxGradNorm: number | null): Ladder {
  return {
    places: Array.from({ length: RATES }, (_, rate) => ({ rate, norm: 0 })),
    neighbours: ({ rate, norm }, distance) => [
      { rate: rate - distance, norm },
      { rate: rate + distance, norm },
    ],
    setting: ({ rate }) => ({ lr: rounded(lowest * 2 ** rate), maxGradNorm }),
  };
}

function limitLadder(lr: number): Ladder {
  return {
    places: Array.from({ length: RATES }, (_, norm) => ({ rate: 0, norm })),
    neighbours: ({ rate, norm }, distance) => [
      { rate, norm: norm - distance },
      { rate, norm: norm + distance },
    ],
    setting: ({ norm }) => ({ lr, maxGradNorm: rounded(LOWEST_LONE_LIMIT * 2 ** norm) }),
  };
}

/**
 * Rates and limits together. The step of SGD on a clipped gradient is the product of both, so its rates are
 * lower where the limit is higher; LARS and Adam divide by the size of the gradient themselves.
 */
function jointLadder(question: Question): Ladder {
  const { optimizer } = question;
  const isProduct = !isLars(optimizer) && ruleOf(optimizer) !== "adamw";
  const lowest = isProduct ? LOWEST_CLIPPED_RATE : 4 * lowestRate(question);
  const places = Array.from({ length: LIMITS }, (_, norm) =>
    Array.from({ length: CLIPPED_RATES }, (__, rate) => ({ rate, norm })),
  );
  return {
    places: places.flat(),
    neighbours: ({ rate, norm }, distance) => [
      { rate: rate - distance, norm },
      { rate: rate + distance, norm },
    ],
    setting: ({ rate, norm }) => {
      const factor = LIMIT_FACTOR ** norm;
      return {
        lr: rounded((lowest * 4 ** rate) / (isProduct ? factor : 1)),
        maxGradNorm: rounded(LOWEST_LIMIT * factor),
      };
    },
  };
}

function lowestRate({ optimizer, step }: Question): number {
  const rule = ruleOf(optimizer);
  if (rule === "adamw") return LOWEST_ADAMW_RATE;
  if (!isLars(optimizer)) return LOWEST_SGD_RATE;
  const coefficient = coefficientOf(step);
  // The rate enters LARS as a product with η: a smaller η takes a larger rate.
  return coefficient === null
    ? LOWEST_SGD_RATE
    : (LOWEST_LARS_RATE * DEFAULT_TRUST_COEFFICIENT) / coefficient;
}

/** η of a rule that has one; null for clip-update, whose rates are those of SGD. */
function coefficientOf(step: StepOptions): number | null {
  if (step.maxUnorm !== null) return null;
  if (step.preset === null) return step.trustCoefficient ?? DEFAULT_TRUST_COEFFICIENT;
  const { trustRatio } = presets[step.preset]({ lr: 1 });
  return typeof trustRatio === "object" && "coefficient" in trustRatio
    ? (trustRatio.coefficient ?? null)
    : null;
}

/** Two digits, as people write rates. */
function rounded(value: number): number {
  return Number(value.toPrecision(2));
}
