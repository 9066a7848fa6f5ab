/** The apply pass: writes weights and momentum, sums squares of the update on the way. */
import { decode, encodeBlock } from "./blockwise";
import { BLOCK, Layer, RUN, SKIP_ZEROS, Sums, WANT_UPDATE, WANT_WEIGHTS } from "./layer";
import { decoded, updates } from "./scratch";
import { addSquares, isZero, runSum, sumOfSquares } from "./sums";

let gradientFactor: f32 = 0;
let weightFactor: f32 = 0;
let decay: f32 = 0;
let accumulation: f32 = 0;
let lookahead: f32 = 0;
let stepSize: f32 = 0;

let sumWeights: f64 = 0;
let sumUpdate: f64 = 0;

/** Elements [start, start + count) of a layer; start is a multiple of the run. */
export function apply(layer: Layer, start: u32, count: i32, sums: Sums): void {
  gradientFactor = layer.gradientFactor;
  weightFactor = layer.weightFactor;
  decay = layer.decay;
  accumulation = layer.accumulation;
  lookahead = layer.lookahead;
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

function applyBlocks(w: usize, g: usize, codes: usize, absmax: usize, count: i32, flags: i32): void {
  for (let left = count; left > 0; left -= BLOCK) {
    const block = min(BLOCK, left);
    if (flags & SKIP_ZEROS && isZero(g, block)) {
      // A block that skipZeros leaves alone is not quantised again: its codes would drift.
      if (flags & WANT_WEIGHTS) sumWeights += sumOfSquares(w, block);
    } else {
      decode(codes, absmax, block);
      applyRun(w, g, decoded, block, flags);
      store<f32>(absmax, encodeBlock(decoded, codes, block));
    }
    w += BLOCK * 4;
    g += BLOCK * 4;
    codes += BLOCK;
    absmax += 4;
  }
}

function applyRuns(w: usize, g: usize, m: usize, count: i32, flags: i32): void {
  for (let left = count; left > 0; left -= RUN) {
    applyRun(w, g, m, min(RUN, left), flags);
    w += RUN * 4;
    g += RUN * 4;
    if (m) m += RUN * 4;
  }
}

/** One loop for each kind of update; the flags are constants inside it. */
function applyRun(w: usize, g: usize, m: usize, count: i32, flags: i32): void {
  // Read once more from the first-level cache, where the loop below finds them: cheaper than a variant.
  if (flags & WANT_WEIGHTS) sumWeights += sumOfSquares(w, count);
  const skip = (flags & SKIP_ZEROS) != 0;
  const sums = (flags & WANT_UPDATE) != 0;
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
  const zero = f32x4.splat(0);
  const vectors = count & ~3;
  let uu = zero;
  let uAt = updates;
  const end = w + (<usize>vectors << 2);
  while (w < end) {
    const gradient = v128.load(g);
    const weights = v128.load(w);
    const direction = f32x4.add(f32x4.mul(gradient, g4), f32x4.mul(weights, w4));
    let update = direction;
    if (momentum) {
      const stored = v128.load(m);
      let next = f32x4.add(f32x4.mul(stored, decay4), f32x4.mul(direction, accumulation4));
      update = nesterov ? f32x4.add(direction, f32x4.mul(next, lookahead4)) : next;
      if (skip) next = v128.bitselect(next, stored, f32x4.ne(gradient, zero));
      v128.store(m, next);
      m += 16;
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
  for (let rest = count - vectors; rest > 0; rest--) {
    const gradient = load<f32>(g);
    const weight = load<f32>(w);
    if (!skip || gradient != 0) {
      const direction = gradient * gradientFactor + weight * weightFactor;
      let update = direction;
      if (momentum) {
        const next = load<f32>(m) * decay + direction * accumulation;
        store<f32>(m, next);
        if (nesterov) update = direction + next * lookahead;
        else update = next;
      }
      store<f32>(w, weight - update * stepSize);
      if (sums) sumUpdate += <f64>update * <f64>update;
    }
    w += 4;
    g += 4;
    if (momentum) m += 4;
  }
}
