/** Whoever makes steps, and the check that each must pass before it is timed. */
import { CHECKED_STEPS, expectedWeights, relativeError } from "./oracle.js";
import { createProblem } from "./problem.js";
import type { Problem } from "./problem.js";
import { RULES } from "./rules.js";
import type { Computed } from "./rules.js";

export interface Rival {
  /** Who, as the tables name it. */
  readonly name: string;
  readonly rule: Computed;
  readonly bits: 8 | 32;
  readonly threads: number;
  /** Its own limit in the check, for a reason that stands there. Default: {@link FLOAT32_TOLERANCE}. */
  readonly tolerance?: number;
  /** Goes back to the problem's weights; forgets the momentum where `fresh`. */
  reset(fresh: boolean): void | Promise<void>;
  /** One step over all layers. */
  step(): void | Promise<void>;
  /** The weights as they are now. */
  weights(): readonly ArrayLike<number>[] | Promise<readonly ArrayLike<number>[]>;
}

/** float32 arithmetic, relative to the way that the weights went. */
export const FLOAT32_TOLERANCE = 1e-4;

/** As above; a momentum next to a midpoint may take the other of two codes. */
export const CODES_TOLERANCE = 1e-3;

/** 8 bits against an oracle that does not round its momentum: the size of the rounding itself. */
export const ROUNDING_TOLERANCE = 3e-2;

/** Up to here the oracle quantises, at 170 ns an element and step: 17 seconds. */
const MOST_QUANTISED = 2 ** 25;

/** What a check found. */
export interface Check {
  readonly name: string;
  readonly error: number;
  readonly tolerance: number;
}

/** Holds rivals to the oracle, which computes once what several are held to. */
export class Judge {
  readonly #problem: Problem;
  #expected: { key: string; weights: readonly Float64Array[] } | null = null;

  constructor(problem: Problem) {
    this.#problem = problem;
  }

  /** @throws Error when the rival's weights are not what its rule makes of them */
  async check(rival: Rival): Promise<Check> {
    await rival.reset(true);
    for (let step = 0; step < CHECKED_STEPS; step++) await rival.step();
    const { weights, tolerance } = this.#verdict(rival);
    const error = relativeError(this.#problem, weights, await rival.weights());
    if (!(error <= tolerance)) {
      throw new Error(
        `${this.#problem.name}: ${label(rival)} is off by ${error.toExponential(1)}; allowed is ${tolerance}`,
      );
    }
    await rival.reset(true);
    return { name: label(rival), error, tolerance };
  }

  #verdict({ rule, bits, tolerance: own }: Rival): { weights: readonly Float64Array[]; tolerance: number } {
    const quantises = bits === 8 && this.#problem.size <= MOST_QUANTISED;
    const key = `${rule} ${quantises ? 8 : 32}`;
    if (this.#expected?.key !== key) {
      this.#expected = null; // Two of them need not fit.
      const weights = expectedWeights(this.#problem, rule, quantises ? 8 : 32);
      this.#expected = { key, weights };
    }
    const ofBits = bits === 32 ? FLOAT32_TOLERANCE : ROUNDING_TOLERANCE;
    const tolerance = own ?? (quantises ? CODES_TOLERANCE : ofBits);
    return { weights: this.#expected.weights, tolerance };
  }
}

/** A rival with what it computes. */
export function label({ name, rule, bits, threads }: Rival): string {
  return `${name}, ${rule}, ${bits} bits, ${threads} ${threads === 1 ? "thread" : "threads"}`;
}

/**
 * Holds the check itself to account: what one rule computes must fail the check of every other, and 8-bit
 * momentum that of 32 bits.
 *
 * @throws Error when a mistake of that size would pass
 */
export function checkTheCheck(): void {
  const problem = createProblem("two layers", [
    { name: "wide", shape: [128, 64] },
    { name: "deep", shape: [8192] },
  ]);
  const computed = [...RULES, "momentum", "optax", "bitsandbytes"] as const;
  const outcomes = computed.map((rule) => ({ rule, weights: expectedWeights(problem, rule, 32) }));
  for (const { rule, weights } of outcomes) {
    for (const other of outcomes) {
      if (other.rule === rule) continue;
      const error = relativeError(problem, weights, other.weights);
      if (error < 10 * FLOAT32_TOLERANCE) {
        throw new Error(`the check can't tell ${rule} and ${other.rule} apart: ${error}`);
      }
    }
  }
  const error = relativeError(
    problem,
    expectedWeights(problem, "clip-update", 8),
    expectedWeights(problem, "clip-update", 32),
  );
  if (error < 2 * CODES_TOLERANCE) throw new Error("the check can't tell 8 bits from 32");
}
