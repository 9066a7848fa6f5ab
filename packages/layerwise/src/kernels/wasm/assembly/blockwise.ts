/**
 * 8-bit momentum: blocks of 256 codes with one absmax.
 *
 * Decoding looks up a code's value. Encoding looks up a value's code, exactly and without a search. The key of
 * y, the value relative to absmax, is its sign, exponent and top 6 mantissa bits. For every key a table has
 * the code of the least number with that key, and the midpoint above that code. If y is above the midpoint, its code
 * is the next one.
 *
 * Why that is exact: y is the quotient that the specification rounds, because f32x4.div rounds the same way. Midpoints
 * are so far apart that no two of the 255 have the same key (quantizer.test.ts counts them). So the code grows by at most
 * one from the least number of a key to the greatest, and the comparison finds where. On a midpoint
 * it gives the lower code, as specified.
 *
 * The used part of the table covers 22 exponents of either sign, 22 KB, most of it 7 exponents. It stays in the first-level
 * cache while the layer streams through.
 */
import { BLOCK, broadcast, codebook, KEYS, midpoints, table } from "./layout";

const LAST_CODE: i32 = 255;
const ZERO_CODE: i32 = 127;

const KEY_SHIFT: i32 = 17;
const SIGN_KEY: i32 = KEYS / 2;
/** The key of 1, beyond which no quotient lies. */
const ONE_KEY: i32 = 127 << (23 - KEY_SHIFT);

/** Where the loop finds its constant: not where those of the apply pass are. */
const DIVISOR: i32 = 15;

/** Bytes of an entry: a midpoint, and a code in the low byte of an i32. */
const ENTRY_SHIFT: i32 = 3;

/** Fills midpoints and table from the codebook, which the loader has written; once for all threads. */
export function fillTables(): void {
  for (let code = 0; code < LAST_CODE; code++) {
    const low = load<f32>(codebook + (code << 2));
    const high = load<f32>(codebook + ((code + 1) << 2));
    store<f32>(midpoints + (code << 2), (low + high) / 2);
  }
  // Above the last code there is none: nothing is greater than infinity.
  store<f32>(midpoints + (LAST_CODE << 2), Infinity);
  let positive = ZERO_CODE;
  let negative = ZERO_CODE;
  for (let key = 0; key < SIGN_KEY; key++) {
    // Beyond ±1 come infinities and NaN, of a momentum that has overflowed.
    positive = key < ONE_KEY ? codeFrom(positive, leastOf(key)) : LAST_CODE;
    negative = key < ONE_KEY ? codeFrom(negative, leastOf(key + SIGN_KEY)) : 0;
    fillEntry(key, positive);
    fillEntry(key + SIGN_KEY, negative);
  }
}

function fillEntry(key: i32, code: i32): void {
  const entry = table + <usize>(key << ENTRY_SHIFT);
  store<f32>(entry, load<f32>(midpoints + (code << 2)));
  store<i32>(entry, code, 4);
}

/** The least number that has a key: of negative numbers the one with the greatest magnitude. */
function leastOf(key: i32): f32 {
  const rest = key < SIGN_KEY ? 0 : (1 << KEY_SHIFT) - 1;
  return reinterpret<f32>((<u32>key << KEY_SHIFT) | rest);
}

/** The nearest code of y, the lower one on a midpoint; found by steps from any guess. */
function codeFrom(guess: i32, y: f32): i32 {
  let code = guess;
  while (y > load<f32>(midpoints + (code << 2))) code++;
  while (code > 0 && y <= load<f32>(midpoints + ((code - 1) << 2))) code--;
  return code;
}

/** Where the value of a code lies; `values` is {@link codebook}, which a loop loads once. */
// @ts-ignore: decorator
@inline
function valueAt(code: usize, values: usize): usize {
  return values + (<usize>load<u8>(code) << 2);
}

/** The values of the four codes at `codes`, relative to absmax. */
// @ts-ignore: decorator
@inline
export function decodeFour(codes: usize, values: usize): v128 {
  let decoded = v128.load32_zero(valueAt(codes, values));
  decoded = v128.load32_lane(valueAt(codes + 1, values), decoded, 1);
  decoded = v128.load32_lane(valueAt(codes + 2, values), decoded, 2);
  return v128.load32_lane(valueAt(codes + 3, values), decoded, 3);
}

/** The value of one code, relative to absmax. */
// @ts-ignore: decorator
@inline
export function decodeOne(code: usize): f32 {
  return load<f32>(valueAt(code, codebook));
}

/** Decodes `count` elements from the start of a block on. */
export function decode(codes: usize, absmax: usize, count: i32, to: usize): void {
  for (let index = 0; index < count; index++) {
    const scale = load<f32>(absmax + ((index / BLOCK) << 2));
    store<f32>(to + (index << 2), decodeOne(codes + index) * scale);
  }
}

/**
 * Encodes a block or less of float32 values with their absmax. Values and codes must have room for a
 * multiple of 8.
 */
export function encode(values: usize, codes: usize, count: i32, absmax: f32): void {
  const divisor = divisorOf(absmax);
  const entries = table;
  const end = codes + count;
  while (codes < end) {
    encodeEight(values, codes, divisor, entries);
    values += 32;
    codes += 8;
  }
}

/** What a block's values are divided by. Where all are 0 it is 1: their quotients have the code of 0. */
// @ts-ignore: decorator
@inline
export function divisorOf(absmax: f32): v128 {
  return broadcast(absmax == 0 ? <f32>1 : absmax, DIVISOR);
}

/** Encodes eight values; `entries` is {@link table}, which a loop loads once. */
// @ts-ignore: decorator
@inline
export function encodeEight(values: usize, codes: usize, divisor: v128, entries: usize): void {
  const words = i16x8.narrow_i32x4_s(
    encodeFour(values, divisor, entries),
    encodeFour(values + 16, divisor, entries),
  );
  v128.store64_lane(codes, i8x16.narrow_i16x8_u(words, words), 0);
}

/** The codes of four values, in 32 bits each. */
// @ts-ignore: decorator
@inline
function encodeFour(values: usize, divisor: v128, entries: usize): v128 {
  const y = f32x4.div(v128.load(values), divisor);
  const offsets = v128.and(i32x4.shr_u(y, KEY_SHIFT - ENTRY_SHIFT), i32x4.splat(-1 << ENTRY_SHIFT));
  // Two lanes at a time: 0.40 ns per element, by way of memory 0.50, one lane at a time 0.44 (encoding, in the cache).
  const two = i64x2.extract_lane(offsets, 0);
  const others = i64x2.extract_lane(offsets, 1);
  let first = v128.load64_zero(entries + <u32>two);
  first = v128.load64_lane(entries + <u32>(two >>> 32), first, 1);
  let last = v128.load64_zero(entries + <u32>others);
  last = v128.load64_lane(entries + <u32>(others >>> 32), last, 1);
  const above = v128.shuffle<i32>(first, last, 0, 2, 4, 6);
  const codes = v128.shuffle<i32>(first, last, 1, 3, 5, 7);
  // A comparison that holds is −1.
  return i32x4.sub(codes, f32x4.gt(y, above));
}
