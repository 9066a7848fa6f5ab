/** The equation of a step, in shaders' words: the same for WGSL and GLSL, which differ in how they name things. */
import type { DeviceEquation } from "./device-scales.js";

/** How a shading language says what the equation needs. */
export interface Language {
  /** What stands before the name of a number, and of four, where they get their value. */
  readonly number: string;
  readonly four: string;
  readonly zeros: string;
  /** Of each of four: the first where the gradient is exactly 0, else the second. */
  whereZero(first: string, second: string): string;
  /** A number of the host, by its place among them. */
  hostNumber(place: number): string;
  /** A scale of the device, whose index is a number of the host. */
  scale(at: string): string;
}

export const WGSL: Language = {
  ...{ number: "let", four: "let", zeros: "vec4<f32>(0.0)" },
  whereZero: (first, second) => `select(${second}, ${first}, gradient == vec4<f32>(0.0))`,
  hostNumber: (place) => `numbers.f${String(place)}`,
  scale: (at) => `scales[u32(${at})]`,
};

export const GLSL: Language = {
  ...{ number: "float", four: "vec4", zeros: "vec4(0.0)" },
  whereZero: (first, second) => `mix(${second}, ${first}, equal(gradient, vec4(0.0)))`,
  hostNumber: (place) => `numbers[${String(place)}]`,
  scale: (at) => `scale(${at})`,
};

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
export function readFactors(language: Language, { factors }: EquationVariant): string {
  return factors.map((factor, i) => `${language.number} f${String(i)} = ${factor};`).join("\n");
}

/** `direction` (d), of `gradient` and `weights`. */
export function directionOf({ four }: Language): string {
  return `${four} direction = gradient * f0 + weights * f1;`;
}

/** `next` (m'), of `direction` and, where there is one, the stored momentum `before`. */
export function nextOf({ four }: Language, hasMomentum: boolean): string {
  return `${four} next = ${hasMomentum ? "before * f2 + direction * f3" : "direction"};`;
}

/** What of `next` is to be stored. */
export function storedOf(language: Language, { skipZeros }: EquationVariant): string {
  return skipZeros ? language.whereZero("before", "next") : "next";
}

/** `update` (u), of `direction` and `next`. */
export function updateOf(language: Language, { isNesterov, skipZeros }: EquationVariant): string {
  const update = isNesterov ? "direction + next * f4" : "next";
  return `${language.four} update = ${skipZeros ? language.whereZero(language.zeros, update) : update};`;
}

/** The new weights (w'), of `weights` and `update`. */
export const MOVED = "weights - update * f5";

/**
 * Bits of the sums of squares between which nothing has overflowed, vanished or been infinite: compared as bits,
 * since shaders may take it that there is no NaN and no infinity.
 */
export const LEAST_SUM_BITS = bitsOf(1e-20);
export const MOST_SUM_BITS = bitsOf(1e35);

function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}
