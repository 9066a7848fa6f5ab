/**
 * How shaders measure, in their words. They bring functions of their language: `isReliable(sum)`, `isFinite(vec4)`,
 * `scaleOf(vec3)`, which is 1 instead of 0, `highest(vec4)` and `total(vec4)`.
 */
import type { Language } from "./language.js";

/** What is measured beside the gradient. */
export interface Measured {
  readonly weights: boolean;
  readonly update: boolean;
}

/**
 * Bits of the sums of squares between which nothing has overflowed, vanished or been infinite: compared as bits,
 * since shaders may take it that there is no NaN and no infinity.
 */
export const LEAST_SUM_BITS = bitsOf(1e-20);
export const MOST_SUM_BITS = bitsOf(1e35);

function bitsOf(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}

/** The parts of a shader that its language writes in its own way. */
interface Frame {
  /** Goes over all that is to be measured, or to be added up. */
  readonly loop: (body: string) => string;
  /** Ends with a result, a vec4. */
  readonly end: (result: string) => string;
}

/**
 * ‖g‖, ‖w‖, ‖u‖, 0 where not wanted, and 1 where all of g is finite, of the `gradient`, `weights` and `update` of a loop. Sums of
 * squares well inside float32's range are right, and say that all is finite; else there is a second look, scaled by
 * the largest magnitudes.
 */
export function normsCode(
  language: Language,
  { weights, update }: Measured,
  { loop, end }: Frame,
): string {
  const [vec3, vec4] = [language.type("vec3"), language.type("vec4")];
  const each = (body: (x: string, place: string) => string): string =>
    [
      body("gradient", "x"),
      weights ? body("weights", "y") : "",
      update ? body("update", "z") : "",
    ].join("\n");
  const squares = ["x", "y", "z"].map((place) => `squares_${place}`);
  const totals = `${vec3}(${squares.map((sum) => `total(${sum})`).join()})`;
  return `
  ${squares.map((sum) => `${language.variable("vec4")} ${sum} = ${vec4}(0.0);`).join("\n")}
  ${loop(each((x, place) => `squares_${place} += ${x} * ${x};`))}
  ${language.value("vec3")} sums = ${totals};
  if (${each((_, place) => `isReliable(sums.${place}) &&`)} true) {
    ${end(`${vec4}(sqrt(sums), 1.0)`)}
    return;
  }
  ${language.variable("vec3")} largest = ${vec3}(0.0);
  ${language.variable("float")} finite = 1.0;
  ${loop(`
    ${each((x, place) => `largest.${place} = max(largest.${place}, highest(abs(${x})));`)}
    if (!isFinite(gradient)) { finite = 0.0; }`)}
  ${language.value("vec3")} unit = scaleOf(largest);
  ${squares.map((sum) => `${sum} = ${vec4}(0.0);`).join("\n")}
  ${loop(
    each(
      (x, place) =>
        `${language.value("vec4")} s_${place} = ${x} / unit.${place}; squares_${place} += s_${place} * s_${place};`,
    ),
  )}
  ${end(`${vec4}(unit * sqrt(${totals}), finite)`)}`;
}

/** The same of results that are added up: of each `part` of a loop. */
export function combinedNormsCode(language: Language, { loop, end }: Frame): string {
  const [vec3, vec4] = [language.type("vec3"), language.type("vec4")];
  return `
  ${language.variable("vec3")} largest = ${vec3}(0.0);
  ${language.variable("float")} finite = 1.0;
  ${loop(`
    largest = max(largest, part.xyz);
    finite = min(finite, part.w);`)}
  ${language.value("vec3")} unit = scaleOf(largest);
  ${language.variable("vec3")} sums = ${vec3}(0.0);
  ${loop(`
    ${language.value("vec3")} scaled = part.xyz / unit;
    sums += scaled * scaled;`)}
  ${end(`${vec4}(unit * sqrt(sums), finite)`)}`;
}
