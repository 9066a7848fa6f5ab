/** The equation of a step, in shaders' words. */
import type { DeviceEquation } from "../device/scales.js";
import type { Language } from "./language.js";

/** What of an equation changes a shader's code, not its numbers. */
export interface EquationVariant {
  readonly isNesterov: boolean;
  readonly skipZeros: boolean;
  /** Where the factors f0…f5 come from. */
  readonly factors: readonly string[];
  /** Whether one of them is a scale of the device. */
  readonly looksUp: boolean;
}

/** The factors of an equation as text, and the numbers of the host that it looks up. */
export interface Factors extends Pick<EquationVariant, "factors" | "looksUp"> {
  readonly numbers: readonly number[];
}

export function factorsOf(language: Language, equation: DeviceEquation | null): Factors {
  if (equation === null) return { factors: [], numbers: [], looksUp: false };
  const { gradientFactor, weightFactor, decay, accumulation, lookahead, stepSize } = equation;
  const numbers: number[] = [];
  const number = (value: number): string => language.hostNumber(numbers.push(value) - 1);
  const all = [gradientFactor, weightFactor, decay, accumulation, lookahead, stepSize];
  const factors = all.map((factor) => {
    if (typeof factor === "number") return number(factor);
    const looked = factor.at.map((at) => language.scale(number(at)));
    return [number(factor.times), ...looked].join(" * ");
  });
  return { factors, numbers, looksUp: all.some((factor) => typeof factor !== "number") };
}

export function variantOf(
  equation: DeviceEquation | null,
  { factors, looksUp }: Factors,
): EquationVariant {
  return {
    isNesterov: equation !== null && equation.lookahead !== 0,
    skipZeros: equation?.skipZeros ?? false,
    ...{ factors, looksUp },
  };
}

/** The factors, read once for all elements. */
export function readFactors({ value }: Language, { factors }: EquationVariant): string {
  return factors.map((factor, i) => `${value("float")} f${String(i)} = ${factor};`).join("\n");
}

/** `direction` (d), of `gradient` and `weights`. */
export function directionOf({ value }: Language): string {
  return `${value("vec4")} direction = gradient * f0 + weights * f1;`;
}

/** `next` (m'), of `direction` and, where there is one, the stored momentum `before`. */
export function nextOf({ value }: Language, hasMomentum: boolean): string {
  return `${value("vec4")} next = ${hasMomentum ? "before * f2 + direction * f3" : "direction"};`;
}

/** What of `next` is to be stored. */
export function storedOf(language: Language, { skipZeros }: EquationVariant): string {
  return skipZeros ? language.whereZero("before", "next") : "next";
}

/** `update` (u), of `direction` and `next`. */
export function updateOf(language: Language, { isNesterov, skipZeros }: EquationVariant): string {
  const update = isNesterov ? "direction + next * f4" : "next";
  const zeros = `${language.type("vec4")}(0.0)`;
  return `${language.value("vec4")} update = ${skipZeros ? language.whereZero(zeros, update) : update};`;
}

/** The new weights (w'), of `weights` and `update`. */
export const MOVED = "weights - update * f5";
