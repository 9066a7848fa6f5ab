/** Checks of values from outside. Every error names the option, the value and what is allowed. */

/** A value as an error message shows it. */
export function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return "a function";
  if (Array.isArray(value)) return `an array of ${String(value.length)}`;
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name}`;
  if (typeof value === "object" && value !== null) return "an object";
  return String(value);
}

function refusal(name: string, value: unknown, allowed: string): string {
  return `${name}: got ${shown(value)}; allowed is ${allowed}`;
}

/** @throws TypeError if `value` is no number, RangeError if `accepts` refuses it */
export function checkNumber(
  name: string,
  value: unknown,
  accepts: (value: number) => boolean,
  allowed: string,
): number {
  if (typeof value !== "number") throw new TypeError(refusal(name, value, allowed));
  if (!accepts(value)) throw new RangeError(refusal(name, value, allowed));
  return value;
}

/** A finite number ≥ 0. */
export function checkNonNegative(name: string, value: unknown): number {
  return checkNumber(name, value, isNonNegative, "a finite number ≥ 0");
}

/** A finite number > 0. */
export function checkPositive(name: string, value: unknown): number {
  return checkNumber(name, value, (x) => isNonNegative(x) && x > 0, "a finite number > 0");
}

/** A whole number from `least` to `most`. */
export function checkInteger(name: string, value: unknown, least: number, most = Infinity): number {
  const allowed =
    most === Infinity
      ? `a whole number ≥ ${String(least)}`
      : `a whole number from ${String(least)} to ${String(most)}`;
  return checkNumber(name, value, (x) => Number.isInteger(x) && x >= least && x <= most, allowed);
}

/** A number in [0, 1). */
export function checkFraction(name: string, value: unknown): number {
  return checkNumber(name, value, (x) => x >= 0 && x < 1, "a number in [0, 1)");
}

/** @throws TypeError for anything but true and false */
export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw new TypeError(refusal(name, value, "true or false"));
  return value;
}

/** @throws TypeError for another type than the choices have, RangeError for another value */
export function checkChoice<Choice extends string | number>(
  name: string,
  value: unknown,
  choices: readonly Choice[],
): Choice {
  const choice = choices.find((candidate) => candidate === value);
  if (choice !== undefined) return choice;
  const message = refusal(name, value, choices.map(shown).join(" or "));
  throw typeof value === typeof choices[0] ? new RangeError(message) : new TypeError(message);
}

/** @throws TypeError unless `value` is an object that is no array and no typed array */
export function checkObject(name: string, value: unknown): Record<string, unknown> {
  if (
    typeof value !== "object" ||
    value === null ||
    Array.isArray(value) ||
    ArrayBuffer.isView(value)
  ) {
    throw new TypeError(refusal(name, value, "an object"));
  }
  return value as Record<string, unknown>;
}

/** @throws TypeError that lists the allowed names if `value` has any other */
export function checkNames(
  what: string,
  value: Record<string, unknown>,
  allowed: readonly string[],
): void {
  const unknown = Object.keys(value).find((name) => !allowed.includes(name));
  if (unknown !== undefined) {
    throw new TypeError(
      `${what}: unknown name ${shown(unknown)}; allowed are ${allowed.join(", ")}`,
    );
  }
}

/** @throws RangeError for an array of another length, as one is whose buffer was detached or resized */
export function checkLength(name: string, array: Float32Array, length: number): void {
  if (array.length === length) return;
  const hint = array.length === 0 ? " (its memory is gone: detached, or disposed of)" : "";
  throw new RangeError(
    `${name}: expected ${String(length)} elements, got ${String(array.length)}${hint}`,
  );
}

function isNonNegative(value: number): boolean {
  return Number.isFinite(value) && value >= 0;
}
