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

const BLOCK: i32 = 256;
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
/** Of this thread: a block of momentum, and the keys of 16 elements. */
let keys: usize = 0;
export let block: usize = 0;

export const TABLES_BYTES: i32 = 2 * CODES * 4 + KEYS;
export const SCRATCH_BYTES: i32 = BLOCK * 4 + 64;

export function useMemory(tables: usize, scratch: usize): void {
  codebook = tables;
  midpoints = tables + CODES * 4;
  table = tables + 2 * CODES * 4;
  block = scratch;
  keys = scratch + BLOCK * 4;
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

function lookUp(codes: usize, lane: i32): f32 {
  return load<f32>(codebook + (<usize>load<u8>(codes + lane) << 2));
}

/** Decodes `count` elements, up to a block, into `block`. */
export function decodeBlock(codes: usize, absmax: f32, count: i32): void {
  const scale = f32x4.splat(absmax);
  let index = 0;
  for (; index + 4 <= count; index += 4) {
    const from = codes + index;
    let values = v128.load32_zero(codebook + (<usize>load<u8>(from) << 2));
    values = v128.load32_lane(codebook + (<usize>load<u8>(from, 1) << 2), values, 1);
    values = v128.load32_lane(codebook + (<usize>load<u8>(from, 2) << 2), values, 2);
    values = v128.load32_lane(codebook + (<usize>load<u8>(from, 3) << 2), values, 3);
    v128.store(block + (index << 2), f32x4.mul(values, scale));
  }
  for (; index < count; index++) store<f32>(block + (index << 2), lookUp(codes, index) * absmax);
}

/** Encodes `count` elements of `block`; may write up to 15 codes beyond them. Returns the absmax. */
export function encodeBlock(codes: usize, count: i32): f32 {
  const padded = (count + 15) & ~15;
  for (let index = count; index < padded; index++) store<f32>(block + (index << 2), 0);
  const absmax = largestMagnitude(padded);
  if (absmax == 0) memory.fill(codes, <u8>ZERO_CODE, count);
  else if (absmax < SMALLEST_FAST_ABSMAX) encodeSlowly(codes, absmax, 0, count);
  else encodeByTable(codes, absmax, padded);
  return absmax;
}

function largestMagnitude(count: i32): f32 {
  let largest = f32x4.splat(0);
  for (let index = 0; index < count; index += 4) {
    largest = f32x4.pmax(largest, f32x4.abs(v128.load(block + (index << 2))));
  }
  return max(
    max(f32x4.extract_lane(largest, 0), f32x4.extract_lane(largest, 1)),
    max(f32x4.extract_lane(largest, 2), f32x4.extract_lane(largest, 3)),
  );
}

function encodeSlowly(codes: usize, absmax: f32, start: i32, end: i32): void {
  for (let index = start; index < end; index++) encodeElement(codes, absmax, index, ZERO_CODE);
}

function encodeElement(codes: usize, absmax: f32, index: i32, guess: i32): void {
  const y = min<f32>(1, max<f32>(-1, load<f32>(block + (index << 2)) / absmax));
  store<u8>(codes + index, <u8>exactCode(y, guess));
}

// @ts-ignore: decorator
@inline
function storeKeys(from: usize, to: usize, scale: v128): v128 {
  const values = v128.load(from);
  const bits = f32x4.abs(f32x4.mul(values, scale));
  const inside = i32x4.min_s(
    i32x4.max_s(bits, i32x4.splat(FIRST_BITS)),
    i32x4.splat(LAST_BITS),
  );
  v128.store(to, i32x4.shr_u(inside, KEY_SHIFT));
  return values;
}

// @ts-ignore: decorator
@inline
function tableEntry(lane: i32): usize {
  return table - FIRST_KEY + <usize>load<u32>(keys + (lane << 2));
}

function encodeByTable(codes: usize, absmax: f32, count: i32): void {
  const scale = f32x4.splat(1 / absmax);
  for (let index = 0; index < count; index += 16) {
    const from = block + (index << 2);
    const v0 = storeKeys(from, keys, scale);
    const v1 = storeKeys(from + 16, keys + 16, scale);
    const v2 = storeKeys(from + 32, keys + 32, scale);
    const v3 = storeKeys(from + 48, keys + 48, scale);
    // Narrowing the floats' bits as integers keeps their signs.
    const signs = i8x16.lt_s(
      i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(v0, v1), i16x8.narrow_i32x4_s(v2, v3)),
      i8x16.splat(0),
    );
    let found = i8x16.splat(0);
    found = v128.load8_lane(tableEntry(0), found, 0);
    found = v128.load8_lane(tableEntry(1), found, 1);
    found = v128.load8_lane(tableEntry(2), found, 2);
    found = v128.load8_lane(tableEntry(3), found, 3);
    found = v128.load8_lane(tableEntry(4), found, 4);
    found = v128.load8_lane(tableEntry(5), found, 5);
    found = v128.load8_lane(tableEntry(6), found, 6);
    found = v128.load8_lane(tableEntry(7), found, 7);
    found = v128.load8_lane(tableEntry(8), found, 8);
    found = v128.load8_lane(tableEntry(9), found, 9);
    found = v128.load8_lane(tableEntry(10), found, 10);
    found = v128.load8_lane(tableEntry(11), found, 11);
    found = v128.load8_lane(tableEntry(12), found, 12);
    found = v128.load8_lane(tableEntry(13), found, 13);
    found = v128.load8_lane(tableEntry(14), found, 14);
    found = v128.load8_lane(tableEntry(15), found, 15);
    // 127 + magnitude or 127 − magnitude; bit 7 of a slow entry only garbles what is done again.
    const signed = i8x16.sub(v128.xor(found, signs), signs);
    v128.store(codes + index, i8x16.add(signed, i8x16.splat(<i8>ZERO_CODE)));
    let slow = i8x16.bitmask(found);
    while (slow) {
      const lane = ctz(slow);
      slow &= slow - 1;
      const magnitude = <i32>(load<u8>(tableEntry(lane)) & 0x7f);
      const negative = load<i32>(from + (lane << 2)) < 0;
      encodeElement(codes, absmax, index + lane, ZERO_CODE + (negative ? -magnitude : magnitude));
    }
  }
}
