/**
 * 8-bit momentum: blocks of 256 codes with one absmax, decoded to and encoded from a float32 block.
 *
 * Encoding is exact to the code without a search. An element's magnitude relative to absmax, y, gives
 * a key: its exponent and its top 12 mantissa bits. A table has for each key the magnitude's code
 * (0 … 128). Where a key's range comes within 8 ulp of a midpoint between two codes, and in the
 * topmost code, whose two signs differ, the entry has bit 7 set, and the element is done again by
 * division and comparison with the float32 midpoints.
 *
 * Why that is exact: y is computed as x · fl(1/absmax), which is within 1.5 ulp of x / absmax and
 * so within 2 ulp of the specified fl(x / absmax). Hence both lie in the key's range widened by 8
 * ulp, no midpoint lies in that, and one code is right for all of it. Fewer than 1 in 200 elements of
 * a normal distribution take the slow way.
 *
 * 1/absmax would overflow or lose bits for an absmax in the denormal range, so blocks with an absmax
 * under 1e-36 take the slow way whole.
 */

import { BLOCK } from "./layer";
import { decoded, keys } from "./scratch";

const CODES: i32 = 256;
const ZERO_CODE: i32 = 127;

const KEY_SHIFT: i32 = 11;
/** Float bits of 2^-22, below the first midpoint (2.75e-7): smaller magnitudes all have code 0. */
const FIRST_BITS: i32 = (127 - 22) << 23;
const LAST_BITS: i32 = 127 << 23;
const FIRST_KEY: i32 = FIRST_BITS >> KEY_SHIFT;
const KEYS: i32 = (LAST_BITS >> KEY_SHIFT) - FIRST_KEY + 1;
const MARGIN_ULP: i32 = 8;
const SLOW: u8 = 0x80;
const SMALLEST_FAST_ABSMAX: f32 = 1e-36;

/** The 256 codebook values, the 255 midpoints, then the table; filled once for all threads. */
let codebook: usize = 0;
let midpoints: usize = 0;
let table: usize = 0;

export const TABLES_BYTES: i32 = 2 * CODES * 4 + KEYS;

export function useTables(address: usize): void {
  codebook = address;
  midpoints = address + CODES * 4;
  table = address + 2 * CODES * 4;
}

/** Fills midpoints and table from the codebook, which the loader has written. */
export function fillTables(): void {
  for (let code = 0; code < CODES - 1; code++) {
    const low = load<f32>(codebook + (code << 2));
    const high = load<f32>(codebook + ((code + 1) << 2));
    store<f32>(midpoints + (code << 2), (low + high) / 2);
  }
  let low = ZERO_CODE;
  for (let key = 0; key < KEYS; key++) {
    const bits = (FIRST_KEY + key) << KEY_SHIFT;
    low = exactCode(reinterpret<f32>(bits - MARGIN_ULP), low);
    const high = exactCode(reinterpret<f32>(bits + (1 << KEY_SHIFT) - 1 + MARGIN_ULP), low);
    const magnitude = <u8>(low - ZERO_CODE);
    store<u8>(table + key, low == high && high < CODES - 2 ? magnitude : magnitude | SLOW);
  }
}

/** The nearest code of y, the lower one on a midpoint; found by steps from any guess. */
function exactCode(y: f32, guess: i32): i32 {
  let code = guess;
  while (code < CODES - 1 && y > load<f32>(midpoints + (code << 2))) code++;
  while (code > 0 && y <= load<f32>(midpoints + ((code - 1) << 2))) code--;
  return code;
}

/** Decodes `count` elements, up to a run, into `decoded`. */
export function decode(codes: usize, absmax: usize, count: i32): void {
  let to = decoded;
  for (let left = count; left > 0; left -= BLOCK) {
    decodeBlock(codes, load<f32>(absmax), min(BLOCK, left), to);
    codes += BLOCK;
    absmax += 4;
    to += BLOCK * 4;
  }
}

// @ts-ignore: decorator
@inline
function valueOf(code: usize): usize {
  return codebook + (<usize>load<u8>(code) << 2);
}

// @ts-ignore: decorator
@inline
function decodeFour(codes: usize): v128 {
  let values = v128.load32_zero(valueOf(codes));
  values = v128.load32_lane(valueOf(codes + 1), values, 1);
  values = v128.load32_lane(valueOf(codes + 2), values, 2);
  return v128.load32_lane(valueOf(codes + 3), values, 3);
}

function decodeBlock(codes: usize, absmax: f32, count: i32, to: usize): void {
  const scale = f32x4.splat(absmax);
  const end = to + (<usize>(count & ~7) << 2);
  while (to < end) {
    v128.store(to, f32x4.mul(decodeFour(codes), scale));
    v128.store(to, f32x4.mul(decodeFour(codes + 4), scale), 16);
    codes += 8;
    to += 32;
  }
  for (let rest = count & 7; rest > 0; rest--) {
    store<f32>(to, load<f32>(valueOf(codes)) * absmax);
    codes++;
    to += 4;
  }
}

/** Encodes `count` elements at `x`, up to a block, into codes; returns their absmax. Both the elements and
 * the codes must have room for a multiple of 16. */
export function encodeBlock(x: usize, codes: usize, count: i32): f32 {
  const padded = (count + 15) & ~15;
  for (let index = count; index < padded; index++) store<f32>(x + (index << 2), 0);
  const absmax = largestMagnitude(x, padded);
  if (absmax == 0) memory.fill(codes, <u8>ZERO_CODE, count);
  else if (absmax < SMALLEST_FAST_ABSMAX) encodeSlowly(x, codes, count, absmax);
  else encodeByTable(x, codes, padded, absmax);
  return absmax;
}

function largestMagnitude(x: usize, count: i32): f32 {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  const end = x + (<usize>count << 2);
  while (x < end) {
    a = f32x4.pmax(a, f32x4.abs(v128.load(x)));
    b = f32x4.pmax(b, f32x4.abs(v128.load(x, 16)));
    x += 32;
  }
  a = f32x4.pmax(a, b);
  return max(
    max(f32x4.extract_lane(a, 0), f32x4.extract_lane(a, 1)),
    max(f32x4.extract_lane(a, 2), f32x4.extract_lane(a, 3)),
  );
}

function encodeSlowly(x: usize, codes: usize, count: i32, absmax: f32): void {
  for (let index = 0; index < count; index++) {
    const y = normalized(x + (index << 2), absmax);
    store<u8>(codes + index, <u8>exactCode(y, ZERO_CODE));
  }
}

function normalized(x: usize, absmax: f32): f32 {
  return min<f32>(1, max<f32>(-1, load<f32>(x) / absmax));
}

// @ts-ignore: decorator
@inline
function keysOf(values: v128, scale: v128): v128 {
  const bits = f32x4.abs(f32x4.mul(values, scale));
  const inside = i32x4.min_s(i32x4.max_s(bits, i32x4.splat(FIRST_BITS)), i32x4.splat(LAST_BITS));
  return i32x4.shr_u(inside, KEY_SHIFT);
}

// @ts-ignore: decorator
@inline
function entryOf(key: usize): usize {
  return table - FIRST_KEY + <usize>load<u32>(key);
}

/** The table entries of the 16 keys. */
// @ts-ignore: decorator
@inline
function lookUpKeys(): v128 {
  let found = v128.load8_lane(entryOf(keys), i8x16.splat(0), 0);
  found = v128.load8_lane(entryOf(keys + 4), found, 1);
  found = v128.load8_lane(entryOf(keys + 8), found, 2);
  found = v128.load8_lane(entryOf(keys + 12), found, 3);
  found = v128.load8_lane(entryOf(keys + 16), found, 4);
  found = v128.load8_lane(entryOf(keys + 20), found, 5);
  found = v128.load8_lane(entryOf(keys + 24), found, 6);
  found = v128.load8_lane(entryOf(keys + 28), found, 7);
  found = v128.load8_lane(entryOf(keys + 32), found, 8);
  found = v128.load8_lane(entryOf(keys + 36), found, 9);
  found = v128.load8_lane(entryOf(keys + 40), found, 10);
  found = v128.load8_lane(entryOf(keys + 44), found, 11);
  found = v128.load8_lane(entryOf(keys + 48), found, 12);
  found = v128.load8_lane(entryOf(keys + 52), found, 13);
  found = v128.load8_lane(entryOf(keys + 56), found, 14);
  return v128.load8_lane(entryOf(keys + 60), found, 15);
}

/**
 * Keys in vectors, look-ups by single loads into lanes, signs and packing in vectors again. Measured, in
 * the cache: 0.95 ns an element; computing the code by piecewise linear arithmetic in lanes took 1.25.
 */
function encodeByTable(x: usize, codes: usize, count: i32, absmax: f32): void {
  const scale = f32x4.splat(1 / absmax);
  const end = codes + count;
  while (codes < end) {
    const a = v128.load(x);
    const b = v128.load(x, 16);
    const c = v128.load(x, 32);
    const d = v128.load(x, 48);
    // By way of memory: taking lanes out of a vector costs more than loads that the store forwards.
    v128.store(keys, keysOf(a, scale));
    v128.store(keys, keysOf(b, scale), 16);
    v128.store(keys, keysOf(c, scale), 32);
    v128.store(keys, keysOf(d, scale), 48);
    const found = lookUpKeys();
    // Narrowing the floats' bits as integers keeps their signs.
    const narrow = i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
    const signs = i8x16.lt_s(narrow, i8x16.splat(0));
    // 127 + magnitude or 127 − magnitude; bit 7 of a slow entry only garbles what is done again.
    const signed = i8x16.sub(v128.xor(found, signs), signs);
    v128.store(codes, i8x16.add(signed, i8x16.splat(<i8>ZERO_CODE)));
    let slow = i8x16.bitmask(found);
    while (slow) {
      const lane = <usize>ctz(slow);
      slow &= slow - 1;
      const magnitude = <i32>(load<u8>(entryOf(keys + (lane << 2))) & ~SLOW);
      const y = normalized(x + (lane << 2), absmax);
      const guess = ZERO_CODE + (y < 0 ? -magnitude : magnitude);
      store<u8>(codes + lane, <u8>exactCode(y, guess));
    }
    x += 64;
    codes += 16;
  }
}
