/**
 * The shaders of the two passes. They look at four elements at a time, quads, through `load_x(i)` and `store_x(i)`,
 * which hide whether an array can be read in fours, and whether the momentum is codes.
 */
import { KEY_SHIFT, LARGEST_REST } from "../../../state/code-keys.js";
import { BLOCK_SIZE } from "../../../state/codebook.js";
import { KEYS, LEAST_BITS } from "../shaders/code-table.js";
import {
  directionOf,
  MOVED,
  nextOf,
  readFactors,
  storedOf,
  updateOf,
} from "../shaders/equation.js";
import type { EquationVariant } from "../shaders/equation.js";
import { WGSL } from "../shaders/language.js";
import { combinedNormsCode, LEAST_SUM_BITS, MOST_SUM_BITS, normsCode } from "../shaders/norms.js";
import type { Measured } from "../shaders/norms.js";
import { GROUP, MAIN_ARGUMENTS } from "./backend.js";

/** Threads of a work group. */
export const WORKGROUP = 128;
/** Quads that a thread measures: the next pass adds up what threads found. */
export const MEASURED = 64;
/** Partial results that a thread adds up. */
export const COMBINED = 128;
/** Quads that a thread writes: 18 ms a run over 4 million elements on SwiftShader, 27 with four. */
export const APPLIED = 16;
/** Quads of a block of codes, and how many threads they are shared by. */
const BLOCK_QUADS = BLOCK_SIZE / 4;
const BLOCK_THREADS = 4;
/** Blocks that a work group writes. */
export const GROUP_BLOCKS = 16;
const CODES = 256;

/** What of a layer changes the code, not its numbers. */
export interface Variant extends EquationVariant {
  /** Whether the layer's size is a multiple of four, so that its arrays can be read in fours. */
  readonly inFours: boolean;
  /** How the momentum is stored; null: there is none, or it is not looked at. */
  readonly momentum: "float32" | "blockwise" | null;
}

export type MeasureVariant = Variant & Measured;

/** An array of the layer's size. */
type ArrayName = "w" | "g" | "m";

function loading(name: ArrayName, inFours: boolean): string {
  if (inFours) return `fn load_${name}(i: u32) -> vec4<f32> { return ${name}[i]; }`;
  return `
    fn element_${name}(i: u32) -> f32 {
      if (i < arrayLength(&${name})) { return ${name}[i]; }
      return 0.0;
    }
    fn load_${name}(i: u32) -> vec4<f32> {
      let j = 4u * i;
      return vec4<f32>(element_${name}(j), element_${name}(j + 1u), element_${name}(j + 2u), element_${name}(j + 3u));
    }`;
}

function storing(name: ArrayName, inFours: boolean): string {
  if (inFours) {
    return `fn store_${name}(i: u32, value: vec4<f32>) { ${name}[i] = value; }`;
  }
  return `
    fn store_${name}(i: u32, value: vec4<f32>) {
      for (var j = 0u; j < 4u; j++) {
        if (4u * i + j < arrayLength(&${name})) { ${name}[4u * i + j] = value[j]; }
      }
    }`;
}

/** `tables` begins with the codebook; four codes are in a number. */
const DECODING = `
  fn code(word: u32, place: u32) -> u32 {
    return (word >> (8u * place)) & 255u;
  }
  fn decoded(i: u32) -> vec4<f32> {
    let word = codes[i];
    let values = vec4<f32>(tables[code(word, 0u)], tables[code(word, 1u)], tables[code(word, 2u)], tables[code(word, 3u)]);
    return values * absmax[i / ${String(BLOCK_QUADS)}u];
  }
`;

function loadingMomentum({ momentum, inFours }: Variant): string {
  if (momentum === null) return "";
  if (momentum === "float32") return loading("m", inFours);
  // The places of a last quad that are beyond the layer have codes, but no momentum.
  const values = inFours
    ? "decoded(i)"
    : "select(vec4<f32>(0.0), decoded(i), vec4<u32>(4u * i) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(arrayLength(&g)))";
  return `${DECODING}
    fn load_m(i: u32) -> vec4<f32> { return ${values}; }`;
}

function quads({ inFours }: Variant): string {
  return inFours ? "arrayLength(&g)" : "((arrayLength(&g) + 3u) / 4u)";
}

/** `gradient`, `weights`, `momentum` (m') and `update` (u) of quad i. */
function evaluated(variant: Variant): string {
  const hasMomentum = variant.momentum !== null;
  return `
      let gradient = load_g(i);
      let weights = load_w(i);
      ${directionOf(WGSL)}
      ${hasMomentum ? "let before = load_m(i);" : ""}
      ${nextOf(WGSL, hasMomentum)}
      ${updateOf(WGSL, variant)}
      let momentum = ${hasMomentum ? storedOf(WGSL, variant) : "next"};
  `;
}

/** The functions with which shaders measure. */
const NORMS = `
  const LEAST = ${String(LEAST_SUM_BITS)}u;
  const MOST = ${String(MOST_SUM_BITS)}u;
  const NOT_FINITE = vec4<u32>(0x7f800000u);
  fn bits(x: f32) -> u32 {
    return bitcast<u32>(x) & 0x7fffffffu;
  }
  fn isReliable(sum: f32) -> bool {
    return bits(sum) > LEAST && bits(sum) < MOST;
  }
  fn isFinite(x: vec4<f32>) -> bool {
    return !any((bitcast<vec4<u32>>(x) & NOT_FINITE) == NOT_FINITE);
  }
  fn scaleOf(largest: vec3<f32>) -> vec3<f32> {
    return select(vec3<f32>(1.0), largest, largest > vec3<f32>(0.0));
  }
  fn highest(x: vec4<f32>) -> f32 {
    return max(max(x.x, x.y), max(x.z, x.w));
  }
  fn total(x: vec4<f32>) -> f32 {
    return dot(x, vec4<f32>(1.0));
  }
`;

/**
 * Norms of what each thread looks at: {@link MEASURED} quads, a work group apart. A result is ‖g‖, ‖w‖, ‖u‖, and 1
 * where all of g is finite.
 */
export function measureCode(variant: MeasureVariant): string {
  const { weights, update, inFours } = variant;
  const elements = update
    ? evaluated(variant)
    : `let gradient = load_g(i); ${weights ? "let weights = load_w(i);" : ""}`;
  const loop = (body: string): string => `
    for (var i = base; i < end; i += ${String(WORKGROUP)}u) {
      ${elements}
      ${body}
    }`;
  return `
  ${NORMS}
  ${loading("g", inFours)}
  ${weights || update ? loading("w", inFours) : ""}
  ${loadingMomentum(variant)}
  @compute @workgroup_size(${String(WORKGROUP)})
  fn main(${MAIN_ARGUMENTS}) {
    let index = ${GROUP} * ${String(WORKGROUP)}u + thread;
    if (index >= arrayLength(&result)) { return; }
    ${update ? readFactors(WGSL, variant) : ""}
    let base = ${GROUP} * ${String(WORKGROUP * MEASURED)}u + thread;
    let end = min(${quads(variant)}, base + ${String(WORKGROUP * MEASURED)}u);
    ${normsCode(WGSL, variant, { loop, end: (result) => `result[index] = ${result};` })}
  }`;
}

/** Fewer partial results. */
export function combineCode(): string {
  const loop = (body: string): string => `
    for (var i = base; i < end; i++) {
      let part = parts[i];
      ${body}
    }`;
  return `
  ${NORMS}
  @compute @workgroup_size(${String(WORKGROUP)})
  fn main(${MAIN_ARGUMENTS}) {
    let index = ${GROUP} * ${String(WORKGROUP)}u + thread;
    if (index >= arrayLength(&result)) { return; }
    let base = index * ${String(COMBINED)}u;
    let end = min(arrayLength(&parts), base + ${String(COMBINED)}u);
    ${combinedNormsCode(WGSL, { loop, end: (result) => `result[index] = ${result};` })}
  }`;
}

/** Writes weights and momentum where they are, or nothing where `ok` is false. */
export function applyCode(variant: Variant): string {
  return variant.momentum === "blockwise" ? applyToBlocks(variant) : applyToQuads(variant);
}

function applyToQuads(variant: Variant): string {
  const { inFours, momentum } = variant;
  return `
  ${loading("g", inFours)}
  ${loading("w", inFours)}
  ${storing("w", inFours)}
  ${loadingMomentum(variant)}
  ${momentum === null ? "" : storing("m", inFours)}
  @compute @workgroup_size(${String(WORKGROUP)})
  fn main(${MAIN_ARGUMENTS}) {
    if (ok[0] == 0u) { return; }
    ${readFactors(WGSL, variant)}
    let base = ${GROUP} * ${String(WORKGROUP * APPLIED)}u + thread;
    let end = min(${quads(variant)}, base + ${String(WORKGROUP * APPLIED)}u);
    for (var i = base; i < end; i += ${String(WORKGROUP)}u) {
      ${evaluated(variant)}
      store_w(i, ${MOVED});
      ${momentum === null ? "" : "store_m(i, momentum);"}
    }
  }`;
}

/** The nearest code of values in [−1, 1], the lower one on a tie. */
const ENCODING = `
  fn nearest(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let magnitude = max(bits & 0x7fffffffu, ${String(LEAST_BITS)}u) - ${String(LEAST_BITS)}u;
    let isNegative = bits >> 31u;
    let entry = bitcast<u32>(tables[${String(CODES)}u + (magnitude >> ${String(KEY_SHIFT)}u) + isNegative * ${String(KEYS)}u]);
    let isNext = (magnitude & ${String(LARGEST_REST)}u) > (entry >> 8u);
    return (entry & 255u) + select(0u, 1u - 2u * isNegative, isNext);
  }
  fn encoded(values: vec4<f32>, largest: f32) -> u32 {
    let x = clamp(values / select(1.0, largest, largest > 0.0), vec4<f32>(-1.0), vec4<f32>(1.0));
    return nearest(x.x) | (nearest(x.y) << 8u) | (nearest(x.z) << 16u) | (nearest(x.w) << 24u);
  }
`;

/**
 * {@link BLOCK_THREADS} threads for a block: enough to read 64 bytes side by side. SwiftShader's barriers take their
 * time for each thread: with 8 for a block a run over 4 million elements took 81 ms instead of 64, with 64 above 170.
 */
function applyToBlocks(variant: Variant): string {
  const { inFours, skipZeros } = variant;
  const own = String(BLOCK_QUADS / BLOCK_THREADS);
  const loop = (body: string): string => `
    for (var k = 0u; k < ${own}u; k++) {
      let i = base + k * ${String(BLOCK_THREADS)}u;
      ${body}
    }`;
  return `
  ${loading("g", inFours)}
  ${loading("w", inFours)}
  ${storing("w", inFours)}
  ${loadingMomentum(variant)}
  ${ENCODING}
  // Bits of magnitudes are in the order of the magnitudes.
  var<workgroup> largestBits: array<atomic<u32>, ${String(GROUP_BLOCKS)}>;
  ${skipZeros ? `var<workgroup> touched: array<atomic<u32>, ${String(GROUP_BLOCKS)}>;` : ""}
  @compute @workgroup_size(${String(GROUP_BLOCKS * BLOCK_THREADS)})
  fn main(${MAIN_ARGUMENTS}) {
    if (ok[0] == 0u) { return; }
    ${readFactors(WGSL, variant)}
    let place = thread / ${String(BLOCK_THREADS)}u;
    let block = ${GROUP} * ${String(GROUP_BLOCKS)}u + place;
    let base = block * ${String(BLOCK_QUADS)}u + thread % ${String(BLOCK_THREADS)}u;
    let end = ${quads(variant)};
    var values: array<vec4<f32>, ${own}>;
    var magnitudes = vec4<f32>(0.0);
    ${skipZeros ? "var isTouched = false;" : ""}
    ${loop(`
      if (i < end) {
        ${evaluated(variant)}
        store_w(i, ${MOVED});
        values[k] = momentum;
        magnitudes = max(magnitudes, abs(momentum));
        ${skipZeros ? "isTouched = isTouched || any(gradient != vec4<f32>(0.0));" : ""}
      }`)}
    let magnitude = max(max(magnitudes.x, magnitudes.y), max(magnitudes.z, magnitudes.w));
    atomicMax(&largestBits[place], bitcast<u32>(magnitude));
    ${skipZeros ? "if (isTouched) { atomicOr(&touched[place], 1u); }" : ""}
    storageBarrier();
    workgroupBarrier();
    if (block >= arrayLength(&absmax)) { return; }
    ${skipZeros ? "if (atomicLoad(&touched[place]) == 0u) { return; }" : ""}
    let largest = bitcast<f32>(atomicLoad(&largestBits[place]));
    ${loop("codes[i] = encoded(values[k], largest);")}
    if (thread % ${String(BLOCK_THREADS)}u == 0u) { absmax[block] = largest; }
  }`;
}
