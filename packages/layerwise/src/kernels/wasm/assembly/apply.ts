/** The apply pass: writes weights and momentum, sums squares of the update on the way. */
import { decodeFour, decodeOne, encode } from "./blockwise";
import { Layer, SKIP_ZEROS, Sums, WANT_UPDATE, WANT_WEIGHTS } from "./layer";
import { BLOCK, momenta, RUN, updates } from "./layout";
import { addSquares, isZero, runSum, sumOfSquares } from "./sums";

let gradientFactor: f32 = 0;
let weightFactor: f32 = 0;
let decay: f32 = 0;
let accumulation: f32 = 0;
/** u = ahead·d + lookahead·m: (0, 1) without Nesterov. One loop for both costs nothing: memory is the limit. */
let ahead: f32 = 0;
let lookahead: f32 = 0;
let stepSize: f32 = 0;

/** Kinds of momentum, constants of the loops. */
const NONE: i32 = 0;
const FLOAT32: i32 = 1;
const BLOCKWISE: i32 = 2;

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

function applyBlocks(
  w: usize,
  g: usize,
  codes: usize,
  absmax: usize,
  count: i32,
  flags: i32,
): void {
  for (let left = count; left > 0; left -= BLOCK) {
    const block = min(BLOCK, left);
    if (flags & WANT_WEIGHTS) sumWeights += sumOfSquares(w, block);
    // A block that skipZeros leaves alone is not quantised again: its codes would drift.
    if (!(flags & SKIP_ZEROS && isZero(g, block))) {
      const largest = applyKind(w, g, codes, block, flags, BLOCKWISE, load<f32>(absmax));
      encode(momenta, codes, block, largest);
      store<f32>(absmax, largest);
    }
    w += BLOCK * 4;
    g += BLOCK * 4;
    codes += BLOCK;
    absmax += 4;
  }
}

/** One loop for each kind of update; kind and flags are constants inside it. */
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
  if (flags & SKIP_ZEROS) return applyLoop(w, g, m, count, kind, absmax, true, true);
  if (flags & WANT_UPDATE) return applyLoop(w, g, m, count, kind, absmax, false, true);
  return applyLoop(w, g, m, count, kind, absmax, false, false);
}

/**
 * Steps 4 to 8 for a run or a block. Of a block, the new momentum goes to `momenta`, followed by zeros up to
 * a multiple of 16, and the result is its absmax; the codes are still the old ones.
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
  skip: bool,
  sums: bool,
): f32 {
  const g4 = f32x4.splat(gradientFactor);
  const w4 = f32x4.splat(weightFactor);
  const decay4 = f32x4.splat(decay);
  const accumulation4 = f32x4.splat(accumulation);
  const ahead4 = f32x4.splat(ahead);
  const lookahead4 = f32x4.splat(lookahead);
  const step4 = f32x4.splat(stepSize);
  const absmax4 = f32x4.splat(absmax);
  const zero = f32x4.splat(0);
  let largest = zero;
  let to = kind == BLOCKWISE ? momenta : m;
  let uu = zero;
  let uAt = updates;
  const vectors = count & ~3;
  const end = w + (<usize>vectors << 2);
  while (w < end) {
    const gradient = v128.load(g);
    const weights = v128.load(w);
    const direction = f32x4.add(f32x4.mul(gradient, g4), f32x4.mul(weights, w4));
    let update = direction;
    if (kind != NONE) {
      const stored = kind == BLOCKWISE ? f32x4.mul(decodeFour(m), absmax4) : v128.load(m);
      let next = f32x4.add(f32x4.mul(stored, decay4), f32x4.mul(direction, accumulation4));
      update = f32x4.add(f32x4.mul(direction, ahead4), f32x4.mul(next, lookahead4));
      if (skip) next = v128.bitselect(next, stored, f32x4.ne(gradient, zero));
      v128.store(to, next);
      if (kind == BLOCKWISE) {
        largest = f32x4.pmax(largest, f32x4.abs(next));
        m += 4;
      } else {
        m += 16;
      }
      to += 16;
    }
    if (skip) update = v128.and(update, f32x4.ne(gradient, zero));
    v128.store(w, f32x4.sub(weights, f32x4.mul(update, step4)));
    if (sums) {
      uu = addSquares(uu, update);
      v128.store(uAt, update);
      uAt += 16;
    }
    w += 16;
    g += 16;
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
