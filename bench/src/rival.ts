/** Whoever makes steps, and the check that each must pass before it is timed. */
import { CHECKED_STEPS, expectedWeights, relativeError, ROUNDED_ELEMENTS } from "./oracle.js";
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

/** For rivals that add squares up in float32: a norm is off by 1.3e-4 over 2^25 elements, by 6.8e-4 over 2^27. */
export function float32SumsTolerance({ size }: Problem): number {
  return size <= 2 ** 26 ? 3e-4 : 8e-4;
}

/** As above; a momentum next to a midpoint may take the other of two codes. */
export const CODES_TOLERANCE = 1e-3;

/** Elements whose momentum the oracle does not round: the size of the rounding itself. */
const ROUNDING_TOLERANCE = 3e-2;

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
    const weights = await rival.weights();
    const { bits, tolerance = bits === 8 ? CODES_TOLERANCE : FLOAT32_TOLERANCE } = rival;
    const error = this.#error(rival, weights, bits === 8 ? ROUNDED_ELEMENTS : Infinity);
    this.#judge(rival, error, tolerance);
    if (bits === 8) this.#judge(rival, this.#error(rival, weights), ROUNDING_TOLERANCE);
    await rival.reset(true);
    return { name: label(rival), error, tolerance };
  }

  #judge(rival: Rival, error: number, tolerance: number): void {
    if (error <= tolerance) return;
    throw new Error(
      `${this.#problem.name}: ${label(rival)} is off by ${error.toExponential(1)}; allowed is ${tolerance}`,
    );
  }

  #error({ rule, bits }: Rival, weights: readonly ArrayLike<number>[], most?: number): number {
    const key = `${rule} ${bits}`;
    if (this.#expected?.key !== key) {
      this.#expected = null; // Two of them need not fit.
      this.#expected = { key, weights: expectedWeights(this.#problem, rule, bits) };
    }
    return relativeError(this.#problem, this.#expected.weights, weights, most);
  }
}

/** Rivals in an order in which a judge computes each expectation once. */
export function byExpectation(rivals: readonly Rival[]): Rival[] {
  const key = ({ rule, bits }: Rival): string => `${rule} ${bits}`;
  return [...rivals].sort((a, b) => (key(a) < key(b) ? -1 : 1));
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
