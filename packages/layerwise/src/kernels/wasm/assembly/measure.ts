/** The measure pass: sums of squares of weights, gradient and update. Writes nothing. */
import { block, decodeBlock } from "./blockwise";
import { exactSum, isReliable, laneSum } from "./sums";
import { SKIP_ZEROS, Task, WANT_UPDATE, WANT_WEIGHTS } from "./task";

const RUN: i32 = 256;

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

export function measure(task: Task): void {
  const ahead = task.lookahead;
  const ud = ahead > 0 ? <f32>1 + ahead * task.accumulation : task.accumulation;
  ug = ud * task.gradientFactor;
  uw = ud * task.weightFactor;
  um = (ahead > 0 ? ahead : <f32>1) * task.decay;
  sumWeights = 0;
  sumGradient = 0;
  sumUpdate = 0;
  const weights = (task.flags & WANT_WEIGHTS) != 0;
  const update = (task.flags & WANT_UPDATE) != 0;
  const skip = (task.flags & SKIP_ZEROS) != 0;
  // One loop for each set of inputs: what a rule does not need is not read.
  if (!update) {
    if (weights) measureRuns(task, true, false, false, false);
    else measureRuns(task, false, false, false, false);
  } else if (task.momentum == 0 || task.decay == 0) {
    if (skip) measureRuns(task, true, true, false, true);
    else measureRuns(task, true, true, false, false);
  } else {
    if (skip) measureRuns(task, true, true, true, true);
    else measureRuns(task, true, true, true, false);
  }
  task.sumWeights = sumWeights;
  task.sumGradient = sumGradient;
  task.sumUpdate = sumUpdate;
}

// @ts-ignore: decorator
@inline
function measureRuns(task: Task, weights: bool, update: bool, momentum: bool, skip: bool): void {
  for (let start = 0; start < task.count; start += RUN) {
    const count = min(RUN, task.count - start);
    const offset = <usize>start << 2;
    let m: usize = 0;
    if (momentum) {
      if (task.absmax) {
        decodeBlock(task.momentum + start, load<f32>(task.absmax + (start >> 6)), count);
        m = block;
      } else {
        m = task.momentum + offset;
      }
    }
    const w = task.weights + offset;
    const g = task.gradient + offset;
    measureRun(w, g, m, count, weights, update, momentum, skip);
  }
}

// @ts-ignore: decorator
@inline
function measureRun(
  w: usize,
  g: usize,
  m: usize,
  count: i32,
  weights: bool,
  update: bool,
  momentum: bool,
  skip: bool,
): void {
  const g4 = f32x4.splat(ug);
  const w4 = f32x4.splat(uw);
  const m4 = f32x4.splat(um);
  // Two chains per sum: one would wait for its own additions.
  let ww0 = f32x4.splat(0);
  let ww1 = f32x4.splat(0);
  let gg0 = f32x4.splat(0);
  let gg1 = f32x4.splat(0);
  let uu0 = f32x4.splat(0);
  let uu1 = f32x4.splat(0);
  const vectors = count & ~7;
  for (let index = 0; index < vectors; index += 8) {
    const at = <usize>index << 2;
    const ga = v128.load(g + at);
    const gb = v128.load(g + at, 16);
    gg0 = f32x4.add(gg0, f32x4.mul(ga, ga));
    gg1 = f32x4.add(gg1, f32x4.mul(gb, gb));
    if (weights) {
      const wa = v128.load(w + at);
      const wb = v128.load(w + at, 16);
      ww0 = f32x4.add(ww0, f32x4.mul(wa, wa));
      ww1 = f32x4.add(ww1, f32x4.mul(wb, wb));
      if (update) {
        let ua = f32x4.add(f32x4.mul(ga, g4), f32x4.mul(wa, w4));
        let ub = f32x4.add(f32x4.mul(gb, g4), f32x4.mul(wb, w4));
        if (momentum) {
          ua = f32x4.add(ua, f32x4.mul(v128.load(m + at), m4));
          ub = f32x4.add(ub, f32x4.mul(v128.load(m + at, 16), m4));
        }
        if (skip) {
          ua = v128.and(ua, f32x4.ne(ga, f32x4.splat(0)));
          ub = v128.and(ub, f32x4.ne(gb, f32x4.splat(0)));
        }
        uu0 = f32x4.add(uu0, f32x4.mul(ua, ua));
        uu1 = f32x4.add(uu1, f32x4.mul(ub, ub));
      }
    }
  }
  // The last elements of a layer whose size is no multiple of 8, and the runs that float32 can't sum.
  const rest = count - vectors;
  const at = <usize>vectors << 2;
  const gradientSum = laneSum(f32x4.add(gg0, gg1));
  sumGradient += isReliable(gradientSum) ? gradientSum : exactSum(g, vectors);
  if (rest) sumGradient += exactSum(g + at, rest);
  if (weights) {
    const weightSum = laneSum(f32x4.add(ww0, ww1));
    sumWeights += isReliable(weightSum) ? weightSum : exactSum(w, vectors);
    if (rest) sumWeights += exactSum(w + at, rest);
  }
  if (update) {
    const updateSum = laneSum(f32x4.add(uu0, uu1));
    sumUpdate += isReliable(updateSum) ? updateSum : exactUpdateSum(w, g, m, vectors, skip);
    if (rest) sumUpdate += exactUpdateSum(w + at, g + at, m ? m + at : 0, rest, skip);
  }
}

/** ‖u‖² in float64. */
function exactUpdateSum(w: usize, g: usize, m: usize, count: i32, skip: bool): f64 {
  let sum: f64 = 0;
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
