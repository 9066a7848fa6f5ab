/**
 * 8-bit momentum: blocks of 256 codes with one absmax.
 *
 * Decoding looks a code's value up. Encoding looks a value's code up, without a search and yet exact: the
 * value relative to absmax, y, gives a key, its sign, exponent and top 11 mantissa bits, and a table has
 * the code of every key. Where a key's range comes within 8 ulp of a midpoint between two codes, the table
 * has SLOW, and the element is done again by division and comparison with the float32 midpoints. So is one
 * whose code is SLOW itself, the smallest positive value, 5.5e-7 of absmax.
 *
 * Why that is exact: y is computed as x · fl(1/absmax), which is within 1.5 ulp of x / absmax and so
 * within 2 ulp of the specified fl(x / absmax). Both lie in the key's range widened by 8 ulp; no
 * midpoint lies in that, so one code is right for all of it. Of a normal distribution, 1 in 100 elements
 * goes the slow way.
 *
 * 1/absmax would overflow or lose bits for an absmax in the denormal range, so blocks with an absmax
 * under 1e-36 go the slow way whole.
 */
import { BLOCK, broadcast, CODEBOOK, keys, MIDPOINTS, TABLE, TABLE_SIZE } from "./layout";

const CODES: i32 = 256;
const ZERO_CODE: i32 = 127;
const SLOW: i32 = 128;

const KEY_SHIFT: i32 = 12;
const MARGIN_ULP: i32 = 8;
const SIGN: u32 = 0x80000000;
/** Float bits of 2^-22, below the first midpoint (2.75e-7): smaller magnitudes all have code 127. */
const FIRST_BITS: u32 = (127 - 22) << 23;
const ONE_BITS: u32 = 127 << 23;
const SMALLEST_FAST_ABSMAX: f32 = 1e-36;

/** Fills midpoints and table from the codebook, which the loader has written; once for all threads. */
export function fillTables(): void {
  for (let code = 0; code < CODES - 1; code++) {
    const low = load<f32>(CODEBOOK + (code << 2));
    const high = load<f32>(CODEBOOK + ((code + 1) << 2));
    store<f32>(MIDPOINTS + (code << 2), (low + high) / 2);
  }
  // Beyond ±1 there are only rounded-up ones, infinities and NaN: the slow way clamps.
  memory.fill(TABLE, <u8>SLOW, TABLE_SIZE);
  fillSign(0);
  fillSign(SIGN);
}

/** The entries of one sign, from small magnitudes to 1. */
function fillSign(sign: u32): void {
  memory.fill(TABLE + (sign >> KEY_SHIFT), <u8>ZERO_CODE, FIRST_BITS >> KEY_SHIFT);
  let guess = ZERO_CODE;
  for (let bits = FIRST_BITS; bits < ONE_BITS; bits += 1 << KEY_SHIFT) {
    const near = reinterpret<f32>(sign | (bits - MARGIN_ULP));
    const far = reinterpret<f32>(sign | min(ONE_BITS, bits + (1 << KEY_SHIFT) - 1 + MARGIN_ULP));
    guess = exactCode(near, guess);
    if (exactCode(far, guess) == guess) store<u8>(TABLE + ((sign | bits) >> KEY_SHIFT), <u8>guess);
  }
  const one = reinterpret<f32>(sign | ONE_BITS);
  store<u8>(TABLE + ((sign | ONE_BITS) >> KEY_SHIFT), <u8>exactCode(one, guess));
}

/** The nearest code of y, the lower one on a midpoint; found by steps from any guess. */
function exactCode(y: f32, guess: i32): i32 {
  let code = guess;
  while (code < CODES - 1 && y > load<f32>(code << 2, MIDPOINTS)) code++;
  while (code > 0 && y <= load<f32>((code - 1) << 2, MIDPOINTS)) code--;
  return code;
}

// @ts-ignore: decorator
@inline
function valueAt(code: usize): usize {
  return <usize>load<u8>(code) << 2;
}

/** The values of the four codes at `codes`, relative to absmax. */
// @ts-ignore: decorator
@inline
export function decodeFour(codes: usize): v128 {
  let values = v128.load32_zero(valueAt(codes), CODEBOOK);
  values = v128.load32_lane(valueAt(codes + 1), values, 1, CODEBOOK);
  values = v128.load32_lane(valueAt(codes + 2), values, 2, CODEBOOK);
  return v128.load32_lane(valueAt(codes + 3), values, 3, CODEBOOK);
}

/** The value of one code, relative to absmax. */
// @ts-ignore: decorator
@inline
export function decodeOne(code: usize): f32 {
  return load<f32>(valueAt(code), CODEBOOK);
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
 * multiple of 16.
 */
export function encode(values: usize, codes: usize, count: i32, absmax: f32): void {
  if (absmax == 0) memory.fill(codes, <u8>ZERO_CODE, count);
  else if (absmax < SMALLEST_FAST_ABSMAX) encodeSlowly(values, codes, count, absmax);
  else encodeByTable(values, codes, count, absmax);
}

function encodeSlowly(values: usize, codes: usize, count: i32, absmax: f32): void {
  for (let index = 0; index < count; index++) {
    encodeOne(values + (index << 2), codes + index, absmax);
  }
}

function encodeOne(value: usize, code: usize, absmax: f32): void {
  const y = min<f32>(1, max<f32>(-1, load<f32>(value) / absmax));
  // The code of the next smaller magnitudes is at most a step away, unless they go the slow way too.
  const neighbour = TABLE - 1 + <usize>(reinterpret<u32>(y) >> KEY_SHIFT);
  store<u8>(code, <u8>exactCode(y, load<u8>(neighbour)));
}

// @ts-ignore: decorator
@inline
function keysOf(values: usize, scale: v128): v128 {
  return i32x4.shr_u(f32x4.mul(v128.load(values), scale), KEY_SHIFT);
}

/**
 * Keys in vectors, look-ups by single loads into lanes. Measured, in the cache: two thirds of the time of
 * computing codes by piecewise linear arithmetic in lanes.
 */
function encodeByTable(values: usize, codes: usize, count: i32, absmax: f32): void {
  const scale = broadcast(1 / absmax, 0);
  const slowCode = i8x16.splat(<i8>SLOW);
  const zero = i8x16.splat(0);
  const key = keys;
  const end = codes + count;
  while (codes < end) {
    // By way of memory: taking lanes out of a vector costs more than loads that the store forwards.
    v128.store(key, keysOf(values, scale));
    v128.store(key, keysOf(values + 16, scale), 16);
    v128.store(key, keysOf(values + 32, scale), 32);
    v128.store(key, keysOf(values + 48, scale), 48);
    // Four chains: each insertion waits for the one before.
    let from0 = v128.load8_lane(load<u32>(key), zero, 0, TABLE);
    let from4 = v128.load8_lane(load<u32>(key, 16), zero, 4, TABLE);
    let from8 = v128.load8_lane(load<u32>(key, 32), zero, 8, TABLE);
    let from12 = v128.load8_lane(load<u32>(key, 48), zero, 12, TABLE);
    from0 = v128.load8_lane(load<u32>(key, 4), from0, 1, TABLE);
    from4 = v128.load8_lane(load<u32>(key, 20), from4, 5, TABLE);
    from8 = v128.load8_lane(load<u32>(key, 36), from8, 9, TABLE);
    from12 = v128.load8_lane(load<u32>(key, 52), from12, 13, TABLE);
    from0 = v128.load8_lane(load<u32>(key, 8), from0, 2, TABLE);
    from4 = v128.load8_lane(load<u32>(key, 24), from4, 6, TABLE);
    from8 = v128.load8_lane(load<u32>(key, 40), from8, 10, TABLE);
    from12 = v128.load8_lane(load<u32>(key, 56), from12, 14, TABLE);
    from0 = v128.load8_lane(load<u32>(key, 12), from0, 3, TABLE);
    from4 = v128.load8_lane(load<u32>(key, 28), from4, 7, TABLE);
    from8 = v128.load8_lane(load<u32>(key, 44), from8, 11, TABLE);
    from12 = v128.load8_lane(load<u32>(key, 60), from12, 15, TABLE);
    const found = v128.or(v128.or(from0, from4), v128.or(from8, from12));
    v128.store(codes, found);
    let slow = i8x16.bitmask(i8x16.eq(found, slowCode));
    while (slow) {
      const lane = <usize>ctz(slow);
      slow &= slow - 1;
      encodeOne(values + (lane << 2), codes + lane, absmax);
    }
    values += 64;
    codes += 16;
  }
}
