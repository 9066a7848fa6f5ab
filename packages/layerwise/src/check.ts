/** Checks of values from outside. Every error names the option, what was expected, and the value. */

/** Longer texts and shapes are truncated in messages, because they may come from files. */
const MOST_CHARACTERS = 200;
const MOST_SIZES = 12;

/** A value as an error message shows it. */
export function shown(value: unknown): string {
  if (typeof value === "string") return shownText(value);
  if (typeof value === "function") return "a function";
  if (Array.isArray(value)) return `an array of ${String(value.length)}`;
  if (typeof value === "object" && value !== null) return shownObject(value);
  return String(value);
}

function shownText(text: string): string {
  if (text.length <= MOST_CHARACTERS) return JSON.stringify(text);
  return `${JSON.stringify(text.slice(0, MOST_CHARACTERS))}… (${String(text.length)} characters)`;
}

/** "a Map", "a Float32Array", "a detached Float32Array", "an object". */
function shownObject(value: object): string {
  const tag = Object.prototype.toString.call(value).slice("[object ".length, -1);
  const name = tag === "Object" ? "object" : tag;
  if (ArrayBuffer.isView(value) && isDetached(value)) return `a detached ${name}`;
  return `${/^[aeio]/i.test(name) ? "an" : "a"} ${name}`;
}

/** A shape as an error message shows it: [2, 3]. */
export function shownShape(shape: readonly unknown[]): string {
  const sizes = Array.from({ length: Math.min(shape.length, MOST_SIZES) }, (_, axis) =>
    shown(shape[axis]),
  );
  return `[${sizes.join(", ")}${shape.length > MOST_SIZES ? ", …" : ""}]`;
}

/** Whether a view's buffer was transferred or outgrown: such a view is empty, whatever it was. */
export function isDetached(view: ArrayBufferView): boolean {
  if (view.byteLength > 0) return false;
  try {
    new Uint8Array(view.buffer);
    return false;
  } catch {
    return true;
  }
}

/** The wording of all refusals. */
export function refusal(name: string, value: unknown, expected: string): string {
  return `${name}: expected ${expected}, got ${shown(value)}`;
}

/** @throws TypeError if `value` is not a number, RangeError if `accepts` returns false */
export function checkNumber(
  name: string,
  value: unknown,
  accepts: (value: number) => boolean,
  expected: string,
): number {
  if (typeof value !== "number") throw new TypeError(refusal(name, value, expected));
  if (!accepts(value)) throw new RangeError(refusal(name, value, expected));
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
  const expected =
    most === Infinity
      ? `a whole number ≥ ${String(least)}`
      : `a whole number from ${String(least)} to ${String(most)}`;
  return checkNumber(name, value, (x) => Number.isInteger(x) && x >= least && x <= most, expected);
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

/** @throws TypeError for anything but a string, and for one with lone surrogates, which no file can keep */
export function checkText(name: string, value: unknown): string {
  if (typeof value !== "string") throw new TypeError(refusal(name, value, "a string"));
  if (hasLoneSurrogate(value)) {
    throw new TypeError(refusal(name, value, "a string without lone surrogates"));
  }
  return value;
}

export function hasLoneSurrogate(text: string): boolean {
  return /\p{Surrogate}/u.test(text);
}

/** @throws TypeError unless `value` is an object with fields: no array, typed array, Map or Set */
export function checkObject(name: string, value: unknown): Record<string, unknown> {
  if (
    typeof value !== "object" ||
    value === null ||
    ArrayBuffer.isView(value) ||
    Symbol.iterator in value
  ) {
    throw new TypeError(refusal(name, value, "an object"));
  }
  return value as Record<string, unknown>;
}

/** An object that has no other fields than those of the list; see {@link checkNames}. */
export function checkFields(
  name: string,
  value: unknown,
  fields: readonly string[],
): Record<string, unknown> {
  const object = checkObject(name, value);
  checkNames(name, object, fields);
  return object;
}

/** What {@link checkShape} takes. */
export interface ShapeLimits {
  /** The least size of a dimension. */
  least: 0 | 1;
  /** The most elements, and how an error names them. Default: 2^53 − 1. */
  most?: number;
  mostShown?: string;
}

/**
 * The number of elements of a shape: the product of its sizes.
 *
 * @throws TypeError unless `shape` is an array; RangeError unless it is one of whole sizes, without holes, that
 *   have at most `most` elements together
 */
export function checkShape(
  name: string,
  shape: unknown,
  { least, most = Number.MAX_SAFE_INTEGER, mostShown = "2^53 − 1" }: ShapeLimits,
): number {
  if (!Array.isArray(shape)) throw new TypeError(refusal(name, shape, "an array of sizes"));
  let size = 1;
  // By the iterator, which sees the holes of a sparse array.
  for (const length of shape as unknown[]) {
    const isSize = typeof length === "number" && Number.isInteger(length) && length >= least;
    size *= isSize && length <= most ? length : NaN;
    if (!(size <= most)) {
      throw new RangeError(
        `${name}: expected whole sizes ≥ ${String(least)} with at most ${mostShown} elements together, got ${shownShape(shape)}`,
      );
    }
  }
  return size;
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
      `${what}: unknown name ${shown(unknown)}; expected one of ${allowed.join(", ")}`,
    );
  }
}

/** The typed arrays that state is kept in. */
type NumberArray = Float32Array | Float64Array | Uint8Array;

/**
 * Whether an array has this many elements now. It compares bytes, because V8 before 12 (Node 20) reads a stale `length` of a detached array
 * in optimized code that has seen resizable arrays too.
 */
export function hasLength(array: NumberArray, length: number): boolean {
  return array.byteLength === length * array.BYTES_PER_ELEMENT;
}

/** @throws TypeError for another type, RangeError for another length */
export function checkArray<A extends NumberArray>(
  name: string,
  value: unknown,
  type: new (length: number) => A,
  length: number,
): A {
  const expected = `a ${type.name} of ${String(length)}`;
  if (!(value instanceof type)) throw new TypeError(refusal(name, value, expected));
  if (hasLength(value, length)) return value;
  const got = isDetached(value) ? shown(value) : `one of ${String(value.length)}`;
  throw new RangeError(`${name}: expected ${expected}, got ${got}`);
}

/** @throws RangeError for the first element that is not finite */
export function checkFinite<A extends NumberArray>(name: string, values: A): A {
  for (let index = 0; index < values.length; index++) {
    if (!Number.isFinite(values[index])) {
      throw new RangeError(refusal(`${name}[${String(index)}]`, values[index], "a finite number"));
    }
  }
  return values;
}

/** @throws RangeError for the first element that is not finite or negative */
export function checkNonNegatives<A extends NumberArray>(name: string, values: A): A {
  for (let index = 0; index < values.length; index++) {
    if (!isNonNegative(values[index]!))
      checkNonNegative(`${name}[${String(index)}]`, values[index]);
  }
  return values;
}

function isNonNegative(value: number): boolean {
  return Number.isFinite(value) && value >= 0;
}
