/** The apply pass: writes weights and momentum, sums squares of the update on the way. */
import { decodeFour, decodeOne, divisorOf, encode, encodeEight } from "./blockwise";
import { BLOCKWISE, FLOAT32, NONE } from "./kinds";
import { Layer, SKIP_ZEROS, Sums, WANT_UPDATE, WANT_WEIGHTS } from "./layer";
import { BLOCK, broadcast, codebook, keep, kept, momenta, RUN, table, updates } from "./layout";
import { addSquares, isZero, runSum, sumOfSquares } from "./sums";

let gradientFactor: f32 = 0;
let weightFactor: f32 = 0;
let decay: f32 = 0;
let accumulation: f32 = 0;
/** u = ahead·d + lookahead·m: (0, 1) without Nesterov. */
let ahead: f32 = 0;
let lookahead: f32 = 0;
let stepSize: f32 = 0;

/** Where loops find these in four lanes. Kept once a chunk: for each block of 256 it would cost 0.02 ns per element. */
const GRADIENT_FACTOR: i32 = 0;
const WEIGHT_FACTOR: i32 = 1;
const DECAY: i32 = 2;
const ACCUMULATION: i32 = 3;
const AHEAD: i32 = 4;
const LOOKAHEAD: i32 = 5;
const STEP_SIZE: i32 = 6;
const MAGNITUDE: i32 = 7;
const ABSMAX: i32 = 8;

let sumWeights: f64 = 0;
let sumUpdate: f64 = 0;

/** Elements [start, start + count) of a layer; start is a multiple of the run. */
export function apply(layer: Layer, start: u32, count: i32, sums: Sums): void {
  gradientFactor = layer.gradientFactor;
  weightFactor = layer.weightFactor;
  decay = layer.decay;
  accumulation = layer.accumulation;
  ahead = layer.lookahead > 0 ? 1 : 0;
  lookahead = layer.lookahead > 0 ? layer.lookahead : 1;
  stepSize = layer.stepSize;
  keep(gradientFactor, GRADIENT_FACTOR);
  keep(weightFactor, WEIGHT_FACTOR);
  keep(decay, DECAY);
  keep(accumulation, ACCUMULATION);
  keep(ahead, AHEAD);
  keep(lookahead, LOOKAHEAD);
  keep(stepSize, STEP_SIZE);
  keep(reinterpret<f32>(0x7fffffff), MAGNITUDE);
  sumWeights = 0;
  sumUpdate = 0;
  const w = layer.weights + (<usize>start << 2);
  const g = layer.gradient + (<usize>start << 2);
  const flags = layer.flags;
  if (layer.absmax) {
    const absmax = layer.absmax + <usize>(start / BLOCK) * 4;
    applyBlocks(w, g, layer.momentum + <usize>start, absmax, count, flags);
  } else if (layer.momentum) {
    applyRuns(w, g, layer.momentum + (<usize>start << 2), count, flags);
  } else {
    applyRuns(w, g, 0, count, flags);
  }
  sums.weights = sumWeights;
  sums.gradient = 0;
  sums.update = sumUpdate;
}

function applyRuns(w: usize, g: usize, m: usize, count: i32, flags: i32): void {
  for (let left = count; left > 0; left -= RUN) {
    const run = min(RUN, left);
    if (flags & WANT_WEIGHTS) sumWeights += sumOfSquares(w, run);
    if (m) {
      applyKind(w, g, m, run, flags, FLOAT32, 1);
      m += RUN * 4;
    } else {
      applyKind(w, g, 0, run, flags, NONE, 1);
    }
    w += RUN * 4;
    g += RUN * 4;
  }
}

/** Where the new momentum of a block goes until it is encoded. */
let fresh: usize = 0;

/**
 * A block whose momentum is still to be encoded, eight elements per iteration, while the next block is applied. Encoding
 * needs the block's absmax, so it can't happen in the same iteration; between two blocks it would leave the memory idle.
 * 0.9 instead of 1.1 ns per element from memory.
 */
let pending: usize = 0;
let pendingCodes: usize = 0;
let pendingAbsmax: f32 = 0;

function applyBlocks(
  w: usize,
  g: usize,
  codes: usize,
  absmax: usize,
  count: i32,
  flags: i32,
): void {
  let free = momenta;
  // Nothing is pending yet: what the first block encodes goes nowhere.
  pending = momenta + BLOCK * 4;
  pendingCodes = momenta + 2 * BLOCK * 4;
  pendingAbsmax = 1;
  let pendingCount = 0;
  for (let left = count; left > 0; left -= BLOCK) {
    const block = min(BLOCK, left);
    if (flags & WANT_WEIGHTS) sumWeights += sumOfSquares(w, block);
    // A block that skipZeros leaves alone is not quantized again: its codes would drift.
    if (!(flags & SKIP_ZEROS && isZero(g, block))) {
      fresh = free;
      const largest = applyKind(w, g, codes, block, flags, BLOCKWISE, load<f32>(absmax));
      store<f32>(absmax, largest);
      // The last block may have fewer turns than the one before needs.
      encodeFrom(block & ~7, pendingCount);
      free = pending;
      pending = fresh;
      pendingCodes = codes;
      pendingAbsmax = largest;
      pendingCount = block;
    }
    w += BLOCK * 4;
    g += BLOCK * 4;
    codes += BLOCK;
    absmax += 4;
  }
  encodeFrom(0, pendingCount);
}

/** Encodes what is pending from an element on. */
function encodeFrom(start: i32, count: i32): void {
  if (start < count) {
    encode(pending + (start << 2), pendingCodes + start, count - start, pendingAbsmax);
  }
}

/**
 * Kind and flags are constants inside the loop. What is common has a loop of its own; the rest shares one
 * that does more, since every loop costs 700 bytes, and those with codes 1,100.
 */
// @ts-ignore: decorator
@inline
function applyKind(
  w: usize,
  g: usize,
  m: usize,
  count: i32,
  flags: i32,
  kind: i32,
  absmax: f32,
): f32 {
  if (flags & SKIP_ZEROS) return applyLoop(w, g, m, count, kind, absmax, true, true, true);
  // With codes, two products more do not count.
  if (kind == NONE || ahead || (kind == BLOCKWISE && flags & WANT_UPDATE)) {
    return applyLoop(w, g, m, count, kind, absmax, true, false, true);
  }
  if (kind != BLOCKWISE && flags & WANT_UPDATE) {
    return applyLoop(w, g, m, count, kind, absmax, false, false, true);
  }
  return applyLoop(w, g, m, count, kind, absmax, false, false, false);
}

/**
 * Steps 4 to 8 for a run or a block. Of a block, the new momentum goes to `fresh`, followed by zeros up to
 * a multiple of 16, and the result is its absmax; the codes are still the old ones. `general`: the update by
 * `ahead` and `lookahead`; otherwise it is the new momentum.
 */
// @ts-ignore: decorator
@inline
function applyLoop(
  w: usize,
  g: usize,
  m: usize,
  count: i32,
  kind: i32,
  absmax: f32,
  general: bool,
  skip: bool,
  sums: bool,
): f32 {
  const g4 = kept(GRADIENT_FACTOR);
  const w4 = kept(WEIGHT_FACTOR);
  const decay4 = kept(DECAY);
  const accumulation4 = kept(ACCUMULATION);
  const ahead4 = kept(AHEAD);
  const lookahead4 = kept(LOOKAHEAD);
  const step4 = kept(STEP_SIZE);
  const magnitude = kept(MAGNITUDE);
  const absmax4 = kind == BLOCKWISE ? broadcast(absmax, ABSMAX) : step4;
  const zero = f32x4.splat(0);
  const values = codebook;
  let largest = zero;
  let uu = zero;
  let to = kind == BLOCKWISE ? fresh : m;
  let uAt = updates;
  let from = pending;
  let into = pendingCodes;
  const divisor = kind == BLOCKWISE ? divisorOf(pendingAbsmax) : step4;
  const entries = table;
  const vectors = count & ~7;
  const end = w + (<usize>vectors << 2);
  // Eight elements a turn: pointers, the end and V8's own check cost as much as the arithmetic of four.
  while (w < end) {
    const ga = v128.load(g);
    const gb = v128.load(g, 16);
    const wa = v128.load(w);
    const wb = v128.load(w, 16);
    const da = f32x4.add(f32x4.mul(ga, g4), f32x4.mul(wa, w4));
    const db = f32x4.add(f32x4.mul(gb, g4), f32x4.mul(wb, w4));
    let ua = da;
    let ub = db;
    if (kind != NONE) {
      const sa = kind == BLOCKWISE ? f32x4.mul(decodeFour(m, values), absmax4) : v128.load(m);
      const sb = kind == BLOCKWISE ? f32x4.mul(decodeFour(m + 4, values), absmax4) : v128.load(m, 16);
      let ma = f32x4.add(f32x4.mul(sa, decay4), f32x4.mul(da, accumulation4));
      let mb = f32x4.add(f32x4.mul(sb, decay4), f32x4.mul(db, accumulation4));
      ua = general ? f32x4.add(f32x4.mul(da, ahead4), f32x4.mul(ma, lookahead4)) : ma;
      ub = general ? f32x4.add(f32x4.mul(db, ahead4), f32x4.mul(mb, lookahead4)) : mb;
      if (skip) {
        ma = v128.bitselect(ma, sa, f32x4.ne(ga, zero));
        mb = v128.bitselect(mb, sb, f32x4.ne(gb, zero));
      }
      v128.store(to, ma);
      v128.store(to, mb, 16);
      if (kind == BLOCKWISE) {
        largest = f32x4.pmax(largest, v128.and(ma, magnitude));
        largest = f32x4.pmax(largest, v128.and(mb, magnitude));
        m += 8;
      } else {
        m += 32;
      }
      to += 32;
    }
    if (skip) {
      ua = v128.and(ua, f32x4.ne(ga, zero));
      ub = v128.and(ub, f32x4.ne(gb, zero));
    }
    v128.store(w, f32x4.sub(wa, f32x4.mul(ua, step4)));
    v128.store(w, f32x4.sub(wb, f32x4.mul(ub, step4)), 16);
    if (sums) {
      uu = addSquares(uu, ua, ub);
      v128.store(uAt, ua);
      v128.store(uAt, ub, 16);
      uAt += 32;
    }
    if (kind == BLOCKWISE) {
      encodeEight(from, into, divisor, entries);
      from += 32;
      into += 8;
    }
    w += 32;
    g += 32;
  }
  if (sums) sumUpdate += runSum(uu, updates, vectors);
  let result = largestLane(largest);
  for (let rest = count - vectors; rest > 0; rest--) {
    const gradient = load<f32>(g);
    const weight = load<f32>(w);
    const stays = skip && gradient == 0;
    const direction = gradient * gradientFactor + weight * weightFactor;
    let update = direction;
    if (kind != NONE) {
      const stored = kind == BLOCKWISE ? decodeOne(m) * absmax : load<f32>(m);
      const next = stays ? stored : stored * decay + direction * accumulation;
      update = direction * ahead + next * lookahead;
      store<f32>(to, next);
      result = max(result, abs(next));
      m += kind == BLOCKWISE ? 1 : 4;
      to += 4;
    }
    if (!stays) {
      store<f32>(w, weight - update * stepSize);
      if (sums) sumUpdate += <f64>update * <f64>update;
    }
    w += 4;
    g += 4;
  }
  if (kind == BLOCKWISE) {
    for (let rest = (16 - (count & 15)) & 15; rest > 0; rest--) {
      store<f32>(to, 0);
      to += 4;
    }
  }
  return result;
}

// @ts-ignore: decorator
@inline
function largestLane(x: v128): f32 {
  return max(
    max(f32x4.extract_lane(x, 0), f32x4.extract_lane(x, 1)),
    max(f32x4.extract_lane(x, 2), f32x4.extract_lane(x, 3)),
  );
}
