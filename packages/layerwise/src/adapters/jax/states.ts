/** Checks of states that are handed back to a transformation: those of another one are refused by name. */
import { checkObject, shown } from "../../check.js";
import { HISTORY_LENGTH } from "../../decide/percentile-clipping.js";
import { isArray } from "./trees.js";

/** @throws TypeError unless the state is an object with exactly these fields */
export function checkFields(name: string, state: unknown, fields: readonly string[]): void {
  if (isArray(state)) throw fieldsError(name, fields, describe(state));
  const given = Object.keys(checkObject(`${name}: state`, state));
  if (given.length === fields.length && fields.every((field) => given.includes(field))) return;
  throw fieldsError(name, fields, given.join(", "));
}

function fieldsError(name: string, fields: readonly string[], got: string): TypeError {
  return new TypeError(
    `${name}: state: expected the fields ${fields.join(", ")}, as init returned them, got ${got}`,
  );
}

/** @throws TypeError unless a state, or a part of one, is an empty list: nothing is remembered */
export function checkEmpty(what: string, state: unknown): void {
  if (Array.isArray(state) && state.length === 0) return;
  throw new TypeError(`${what}: expected an empty list, got ${describe(state)}`);
}

/** What an array of a state must be. */
export interface ArrayKind {
  readonly dtype: "float32" | "int32" | "uint32";
  readonly shape: readonly number[];
}

/** @throws TypeError unless the value is an array of this type and shape */
export function checkKind(what: string, value: unknown, { dtype, shape }: ArrayKind): void {
  if (isArray(value) && (value.dtype as string) === dtype && value.shape.join() === shape.join()) {
    return;
  }
  throw new TypeError(`${what}: expected ${dtype} [${shape.join(", ")}], got ${describe(value)}`);
}

/** An int32 scalar. */
export function checkCount(name: string, field: string, value: unknown): void {
  checkKind(`${name}: state: ${field}`, value, { dtype: "int32", shape: [] });
}

/** A layer's history of norms. */
export function checkHistory(what: string, value: unknown): void {
  checkKind(what, value, { dtype: "float32", shape: [HISTORY_LENGTH] });
}

/** A part of a state as an error message shows it. */
export function describe(value: unknown): string {
  if (isArray(value)) return `${value.dtype} [${value.shape.join(", ")}]`;
  if (Array.isArray(value) && value.length === 0) return "an empty list";
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return `an object with ${Object.keys(value).join(", ")}`;
  }
  return shown(value);
}
