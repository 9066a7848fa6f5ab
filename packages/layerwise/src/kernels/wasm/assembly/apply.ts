/** The apply pass: writes weights and momentum, sums squares of the update on the way. */
import { block, decodeBlock, encodeBlock } from "./blockwise";
import { SKIP_ZEROS, Task, WANT_UPDATE, WANT_WEIGHTS } from "./task";

const RUN: i32 = 256;

let gradientFactor: f32 = 0;
let weightFactor: f32 = 0;
let decay: f32 = 0;
let accumulation: f32 = 0;
let lookahead: f32 = 0;
let stepSize: f32 = 0;

let sumWeights: f64 = 0;
let sumUpdate: f64 = 0;

export function apply(task: Task): void {
  gradientFactor = task.gradientFactor;
  weightFactor = task.weightFactor;
  decay = task.decay;
  accumulation = task.accumulation;
  lookahead = task.lookahead;
  stepSize = task.stepSize;
  sumWeights = 0;
  sumUpdate = 0;
  if (task.absmax) applyBlockwise(task);
  else applyElements(task.weights, task.gradient, task.momentum, task.count, task.flags);
  task.sumWeights = sumWeights;
  task.sumGradient = 0;
  task.sumUpdate = sumUpdate;
}

function applyBlockwise(task: Task): void {
  for (let start = 0; start < task.count; start += RUN) {
    const count = min(RUN, task.count - start);
    const offset = <usize>start << 2;
    const absmax = task.absmax + (start >> 6);
    const codes = task.momentum + start;
    const gradient = task.gradient + offset;
    // A block that skipZeros leaves alone is not quantised again: its codes would drift.
    if (task.flags & SKIP_ZEROS && isZero(gradient, count)) continue;
    decodeBlock(codes, load<f32>(absmax), count);
    applyElements(task.weights + offset, gradient, block, count, task.flags);
    store<f32>(absmax, encodeBlock(codes, count));
  }
}

function isZero(x: usize, count: i32): bool {
  for (let index = 0; index < count; index++) {
    if (load<f32>(x + (index << 2)) != 0) return false;
  }
  return true;
}

/** One loop for each kind of update; the flags are constants inside it. */
function applyElements(w: usize, g: usize, m: usize, count: i32, flags: i32): void {
  const skip = (flags & SKIP_ZEROS) != 0;
  const sums = (flags & (WANT_UPDATE | WANT_WEIGHTS)) != 0;
  if (m == 0) {
    if (skip) applyLoop(w, g, m, count, false, false, true, true);
    else if (sums) applyLoop(w, g, m, count, false, false, false, true);
    else applyLoop(w, g, m, count, false, false, false, false);
  } else if (lookahead > 0) {
    if (skip) applyLoop(w, g, m, count, true, true, true, true);
    else if (sums) applyLoop(w, g, m, count, true, true, false, true);
    else applyLoop(w, g, m, count, true, true, false, false);
  } else {
    if (skip) applyLoop(w, g, m, count, true, false, true, true);
    else if (sums) applyLoop(w, g, m, count, true, false, false, true);
    else applyLoop(w, g, m, count, true, false, false, false);
  }
}

// @ts-ignore: decorator
@inline
function squares(sum: v128, x: v128): v128 {
  const low = f64x2.promote_low_f32x4(x);
  const high = f64x2.promote_low_f32x4(v128.shuffle<i32>(x, x, 2, 3, 2, 3));
  return f64x2.add(sum, f64x2.add(f64x2.mul(low, low), f64x2.mul(high, high)));
}

/**
 * Sums are in float64 here: an update is not kept, so there would be no second try at a run whose
 * float32 sum overflows. The pass writes more than it reads; memory hides the conversions.
 */
// @ts-ignore: decorator
@inline
function applyLoop(
  w: usize,
  g: usize,
  m: usize,
  count: i32,
  momentum: bool,
  nesterov: bool,
  skip: bool,
  sums: bool,
): void {
  const g4 = f32x4.splat(gradientFactor);
  const w4 = f32x4.splat(weightFactor);
  const decay4 = f32x4.splat(decay);
  const accumulation4 = f32x4.splat(accumulation);
  const lookahead4 = f32x4.splat(lookahead);
  const step4 = f32x4.splat(stepSize);
  let ww = f64x2.splat(0);
  let uu = f64x2.splat(0);
  const vectors = count & ~3;
  for (let index = 0; index < vectors; index += 4) {
    const at = <usize>index << 2;
    const gradient = v128.load(g + at);
    const weights = v128.load(w + at);
    const direction = f32x4.add(f32x4.mul(gradient, g4), f32x4.mul(weights, w4));
    let update = direction;
    if (momentum) {
      const stored = v128.load(m + at);
      let next = f32x4.add(f32x4.mul(stored, decay4), f32x4.mul(direction, accumulation4));
      update = nesterov ? f32x4.add(direction, f32x4.mul(next, lookahead4)) : next;
      if (skip) next = v128.bitselect(next, stored, f32x4.ne(gradient, f32x4.splat(0)));
      v128.store(m + at, next);
    }
    if (skip) update = v128.and(update, f32x4.ne(gradient, f32x4.splat(0)));
    v128.store(w + at, f32x4.sub(weights, f32x4.mul(update, step4)));
    if (sums) {
      ww = squares(ww, weights);
      uu = squares(uu, update);
    }
  }
  if (sums) {
    sumWeights += f64x2.extract_lane(ww, 0) + f64x2.extract_lane(ww, 1);
    sumUpdate += f64x2.extract_lane(uu, 0) + f64x2.extract_lane(uu, 1);
  }
  for (let index = vectors; index < count; index++) {
    const at = <usize>index << 2;
    const gradient = load<f32>(g + at);
    const weight = load<f32>(w + at);
    if (sums) sumWeights += <f64>weight * <f64>weight;
    if (skip && gradient == 0) continue;
    const direction = gradient * gradientFactor + weight * weightFactor;
    let update = direction;
    if (momentum) {
      const next = load<f32>(m + at) * decay + direction * accumulation;
      store<f32>(m + at, next);
      if (nesterov) update = direction + next * lookahead;
      else update = next;
    }
    store<f32>(w + at, weight - update * stepSize);
    if (sums) sumUpdate += <f64>update * <f64>update;
  }
}
