/** The measure pass: sums of squares of weights, gradient and update. Writes nothing. */
import { decode, decodeFour } from "./blockwise";
import { BLOCKWISE, FLOAT32, NONE } from "./kinds";
import { Layer, SKIP_ZEROS, Sums, WANT_UPDATE, WANT_WEIGHTS } from "./layer";
import { BLOCK, broadcast, codebook, momenta, RUN } from "./layout";
import { addSquares, exactSum, isReliable, isZero, laneSum, runSum } from "./sums";

/**
 * The update as one linear form, u = g·ug + w·uw + m·um: with lookahead l, u = d + l·m' and
 * m' = decay·m + accumulation·d; without, u = m'.
 */
let ug: f32 = 0;
let uw: f32 = 0;
let um: f32 = 0;

let sumWeights: f64 = 0;
let sumGradient: f64 = 0;
let sumUpdate: f64 = 0;

/** Elements [start, start + count) of a layer; start is a multiple of the run. */
export function measure(layer: Layer, start: u32, count: i32, sums: Sums): void {
  const ahead = layer.lookahead;
  const ud = ahead > 0 ? <f32>1 + ahead * layer.accumulation : layer.accumulation;
  ug = ud * layer.gradientFactor;
  uw = ud * layer.weightFactor;
  um = (ahead > 0 ? ahead : <f32>1) * layer.decay;
  sumWeights = 0;
  sumGradient = 0;
  sumUpdate = 0;
  const update = (layer.flags & WANT_UPDATE) != 0;
  const skip = (layer.flags & SKIP_ZEROS) != 0;
  // One loop for each set of inputs: what a rule does not need is not read.
  if (!update) {
    if (layer.flags & WANT_WEIGHTS) measureRuns(layer, start, count, true, false, NONE, false);
    else measureRuns(layer, start, count, false, false, NONE, false);
  } else if (layer.momentum == 0 || layer.decay == 0) {
    if (skip) measureRuns(layer, start, count, true, true, NONE, true);
    else measureRuns(layer, start, count, true, true, NONE, false);
  } else if (layer.absmax == 0) {
    if (skip) measureRuns(layer, start, count, true, true, FLOAT32, true);
    else measureRuns(layer, start, count, true, true, FLOAT32, false);
  } else {
    if (skip) measureRuns(layer, start, count, true, true, BLOCKWISE, true);
    else measureRuns(layer, start, count, true, true, BLOCKWISE, false);
  }
  sums.weights = sumWeights;
  sums.gradient = sumGradient;
  sums.update = sumUpdate;
}

/** Calls measureRun for each run; the flags are constants inside it. */
// @ts-ignore: decorator
@inline
function measureRuns(
  layer: Layer,
  start: u32,
  count: i32,
  weights: bool,
  update: bool,
  kind: i32,
  skip: bool,
): void {
  let w = layer.weights + (<usize>start << 2);
  let g = layer.gradient + (<usize>start << 2);
  let m: usize = 0;
  let absmax: usize = 0;
  if (kind == FLOAT32) m = layer.momentum + (<usize>start << 2);
  if (kind == BLOCKWISE) {
    m = layer.momentum + <usize>start;
    absmax = layer.absmax + <usize>(start / BLOCK) * 4;
  }
  for (let left = count; left > 0; left -= RUN) {
    measureRun(w, g, m, absmax, min(RUN, left), weights, update, kind, skip);
    w += RUN * 4;
    g += RUN * 4;
    if (kind == FLOAT32) m += RUN * 4;
    if (kind == BLOCKWISE) {
      m += RUN;
      absmax += (RUN / BLOCK) * 4;
    }
  }
}

// @ts-ignore: decorator
@inline
function measureRun(
  w: usize,
  g: usize,
  m: usize,
  absmax: usize,
  count: i32,
  weights: bool,
  update: bool,
  kind: i32,
  skip: bool,
): void {
  const g4 = broadcast(ug, 0);
  const w4 = broadcast(uw, 1);
  let m4 = broadcast(um, 2);
  const zero = f32x4.splat(0);
  const values = codebook;
  let ww = zero;
  let gg = zero;
  let uu = zero;
  const vectors = count & ~7;
  // Pointers that move, and offsets that are constants: indices cost an addition for each load.
  let wAt = w;
  let gAt = g;
  let mAt = m;
  let absmaxAt = absmax;
  const gEnd = g + (<usize>vectors << 2);
  while (gAt < gEnd) {
    let blockEnd = gEnd;
    if (kind == BLOCKWISE) {
      blockEnd = min(gEnd, gAt + BLOCK * 4);
      m4 = broadcast(um * load<f32>(absmaxAt), 2);
      absmaxAt += 4;
    }
    while (gAt < blockEnd) {
      const ga = v128.load(gAt);
      const gb = v128.load(gAt, 16);
      gg = addSquares(gg, ga, gb);
      if (weights) {
        const wa = v128.load(wAt);
        const wb = v128.load(wAt, 16);
        ww = addSquares(ww, wa, wb);
        if (update) {
          let ua = f32x4.add(f32x4.mul(ga, g4), f32x4.mul(wa, w4));
          let ub = f32x4.add(f32x4.mul(gb, g4), f32x4.mul(wb, w4));
          if (kind == FLOAT32) {
            ua = f32x4.add(ua, f32x4.mul(v128.load(mAt), m4));
            ub = f32x4.add(ub, f32x4.mul(v128.load(mAt, 16), m4));
          }
          if (kind == BLOCKWISE) {
            ua = f32x4.add(ua, f32x4.mul(decodeFour(mAt, values), m4));
            ub = f32x4.add(ub, f32x4.mul(decodeFour(mAt + 4, values), m4));
          }
          if (skip) {
            ua = v128.and(ua, f32x4.ne(ga, zero));
            ub = v128.and(ub, f32x4.ne(gb, zero));
          }
          uu = addSquares(uu, ua, ub);
        }
      }
      gAt += 32;
      if (weights) wAt += 32;
      if (kind == FLOAT32) mAt += 32;
      if (kind == BLOCKWISE) mAt += 8;
    }
  }
  // The last elements of a layer whose size is no multiple of 8.
  const rest = count - vectors;
  sumGradient += runSum(gg, g, vectors);
  if (rest) sumGradient += exactSum(gAt, rest);
  if (weights) {
    sumWeights += runSum(ww, w, vectors);
    if (rest) sumWeights += exactSum(wAt, rest);
  }
  if (update) {
    const sum = laneSum(uu);
    if (!isReliable(sum) || rest) {
      let stored = m;
      if (kind == BLOCKWISE) {
        decode(m, absmax, count, momenta);
        stored = momenta;
      }
      sumUpdate += isReliable(sum) ? sum : exactUpdateSum(w, g, stored, vectors, skip);
      if (stored) stored += <usize>vectors << 2;
      if (rest) sumUpdate += exactUpdateSum(wAt, gAt, stored, rest, skip);
    } else {
      sumUpdate += sum;
    }
  }
}

/** ‖u‖² in float64. */
function exactUpdateSum(w: usize, g: usize, m: usize, count: i32, skip: bool): f64 {
  let sum: f64 = 0;
  if (isZero(g, count) && (skip || (isZero(w, count) && (m == 0 || isZero(m, count))))) return sum;
  for (let index = 0; index < count; index++) {
    const at = <usize>index << 2;
    const gradient = <f64>load<f32>(g + at);
    if (skip && gradient == 0) continue;
    let update = gradient * <f64>ug + <f64>load<f32>(w + at) * <f64>uw;
    if (m) update += <f64>load<f32>(m + at) * <f64>um;
    sum += update * update;
  }
  return sum;
}
