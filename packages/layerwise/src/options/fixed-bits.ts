/** The three classes by name: LARS8bit and LARS32bit are LARS with `optimBits` fixed. */
import { checkObject, shown } from "../check.js";
import type { LARSOptions } from "./options.js";

export type ClassName = "LARS" | "LARS8bit" | "LARS32bit";

/** The bits that each class fixes; null: both are allowed. */
export const FIXED_BITS: Readonly<Record<ClassName, 8 | 32 | null>> = {
  LARS: null,
  LARS8bit: 8,
  LARS32bit: 32,
};

/** A class as errors name it, and the bits that it fixes. */
export interface BitsOfClass {
  readonly className: string;
  readonly fixedBits: 8 | 32 | null;
}

/**
 * An optimizer's options with the bits of its class.
 *
 * @throws RangeError when they ask for others
 */
export function withFixedBits(
  options: LARSOptions,
  { className, fixedBits }: BitsOfClass,
): LARSOptions {
  if (fixedBits === null) return options;
  const given = checkObject("options", options) as Partial<LARSOptions>;
  for (const bits of [given.optimBits, given.args?.optimBits]) {
    if (bits !== undefined) checkBits(bits, fixedBits, className);
  }
  return { ...options, optimBits: fixedBits };
}

/**
 * Under LARS8bit a group may keep 32 bits, for embeddings say; the other way round makes no sense.
 *
 * @throws RangeError for 8 bits under LARS32bit
 */
export function checkBitsOfGroup(
  { optimBits }: { readonly optimBits: 8 | 32 },
  { className, fixedBits }: BitsOfClass,
): void {
  if (fixedBits === 32) checkBits(optimBits, fixedBits, className);
}

function checkBits(bits: unknown, fixed: 8 | 32, className: string): void {
  if (bits === fixed) return;
  throw new RangeError(
    `optimBits: expected ${String(fixed)} under ${className}, got ${shown(bits)}`,
  );
}
