/**
 * The shaders that measure a layer, and that make its momentum and weights. They look at texels, four elements at a
 * time, through `load_x(i)`, which gives 0 beyond the layer's edges, and hides whether the momentum is codes.
 */
import {
  directionOf,
  MOVED,
  nextOf,
  readFactors,
  storedOf,
  updateOf,
} from "../shaders/equation.js";
import type { EquationVariant } from "../shaders/equation.js";
import { GLSL } from "../shaders/language.js";
import { LEAST_SUM_BITS, MOST_SUM_BITS, normsCode } from "../shaders/norms.js";
import type { Measured } from "../shaders/norms.js";
import { INDEX, PLACE, WIDTH } from "./backend.js";
import { decodingCode } from "./codes.js";
import { DECIDED } from "./decided.js";
import { ELEMENTS } from "./layout.js";
import type { Edges } from "./layout.js";

/** What of a layer changes the code, not its numbers. */
export interface Variant extends EquationVariant {
  readonly edges: Edges;
  /** How the momentum is stored; null: there is none, or it is not looked at. */
  readonly momentum: "float32" | "blockwise" | null;
}

export type MeasureVariant = Variant & Measured;

/** An array of the layer's shape. */
type ArrayName = "w" | "g" | "m";

function loading(name: ArrayName): string {
  return `vec4 load_${name}(int i) { return within(texture(${name}, here), i); }`;
}

function loadingMomentum({ momentum, edges }: Variant): string {
  if (momentum === null) return "";
  return momentum === "float32" ? loading("m") : decodingCode(edges);
}

/** What the shaders over a layer begin with. Texel i is `here`, in all of its arrays: they are aligned. */
function preamble({ edges }: Variant, names: readonly ArrayName[]): string {
  return [PLACE, ELEMENTS[edges], "vec2 here;", ...names.map(loading)].join("\n");
}

/**
 * `main` of a shader that makes each texel of the layer, or leaves it where the step is skipped. Both are made and one
 * is taken: on SwiftShader a branch was no faster.
 */
function main(
  variant: Variant,
  { body, made, left }: Readonly<Record<"body" | "made" | "left", string>>,
): string {
  return `
${DECIDED}
void main() {
  here = resultUV;
  int i = ${INDEX};
  ${readFactors(GLSL, variant)}
  ${variant.looksUp ? "" : "scale(0.0);"}
  ${body}
  setOutput(ok > 0.0 ? ${made} : ${left});
}`;
}

/** Makes m'. */
export function momentumCode(variant: Variant): string {
  return `
${preamble(variant, ["g", "w"])}
${loadingMomentum(variant)}
${main(variant, {
  body: `
  vec4 gradient = load_g(i);
  vec4 weights = load_w(i);
  vec4 before = load_m(i);
  ${directionOf(GLSL)}
  ${nextOf(GLSL, true)}`,
  made: storedOf(GLSL, variant),
  left: "before",
})}`;
}

/** Makes w'; `m` is m'. */
export function weightsCode(variant: Variant): string {
  const { momentum } = variant;
  const looksAtGradient = readsGradient(variant);
  return `
${preamble(variant, [...(looksAtGradient ? ["g" as const] : []), "w"])}
${loadingMomentum(variant)}
${main(variant, {
  body: `
  vec4 weights = load_w(i);
  ${looksAtGradient ? `vec4 gradient = load_g(i); ${directionOf(GLSL)}` : ""}
  ${momentum === null ? nextOf(GLSL, false) : "vec4 next = load_m(i);"}
  ${updateOf(GLSL, variant)}`,
  made: MOVED,
  left: "weights",
})}`;
}

/** Whether w' needs g beside m'. */
export function readsGradient({ momentum, isNesterov, skipZeros }: Variant): boolean {
  return momentum === null || isNesterov || skipZeros;
}

/** The functions with which shaders measure. */
export const NORMS = `
bool isReliable(float sum) {
  uint bits = floatBitsToUint(sum) & 0x7fffffffu;
  return bits > ${String(LEAST_SUM_BITS)}u && bits < ${String(MOST_SUM_BITS)}u;
}
bool isFinite(vec4 x) {
  const uvec4 EXPONENT = uvec4(0x7f800000u);
  return all(notEqual(floatBitsToUint(x) & EXPONENT, EXPONENT));
}
vec3 scaleOf(vec3 largest) {
  return mix(vec3(1.0), largest, greaterThan(largest, vec3(0.0)));
}
float highest(vec4 x) {
  return max(max(x.x, x.y), max(x.z, x.w));
}
float total(vec4 x) {
  return dot(x, vec4(1.0));
}`;

/**
 * Texels that lie side by side are looked at one after another, so many: over 10 million elements measuring took 102 ms on
 * SwiftShader with 1, 58 with 8, 39 with 32. With all of them, 30, the threads of a GPU would look far apart from each other.
 */
const RUN = 32;

/**
 * Norms of what each texel of the result looks at: runs of texels, as far apart as there are such texels. ‖g‖, ‖w‖, ‖u‖,
 * and 1 where all of g is finite.
 */
export function measureCode(variant: MeasureVariant): string {
  const { weights, update, momentum } = variant;
  const needsWeights = weights || update;
  const hasMomentum = momentum !== null;
  const elements = `
      vec4 gradient = load_g(i);
      ${needsWeights ? "vec4 weights = load_w(i);" : ""}
      ${update ? directionOf(GLSL) : ""}
      ${update && hasMomentum ? "vec4 before = load_m(i);" : ""}
      ${update ? `${nextOf(GLSL, hasMomentum)} ${updateOf(GLSL, variant)}` : ""}`;
  const loop = (body: string): string => `
  at = place(first, size.x);
  for (int start = first; start < extent.z; start += apart) {
    int end = min(start + ${String(RUN)}, extent.z);
    for (int i = start; i < end; i++) {
      here = (vec2(at) + 0.5) * texel;
      ${elements}
      ${body}
      at.x++;
      if (at.x == size.x) { at = ivec2(0, at.y + 1); }
    }
    at += jump;
    if (at.x >= size.x) { at += ivec2(-size.x, 1); }
  }`;
  return `
${NORMS}
${preamble(variant, needsWeights ? ["g", "w"] : ["g"])}
${loadingMomentum(variant)}
${variant.looksUp ? DECIDED : ""}
void main() {
  ${update ? readFactors(GLSL, variant) : ""}
  int first = ${INDEX} * ${String(RUN)};
  int apart = ${WIDTH} * ((outTexShape[0] + 1) / 2) * ${String(RUN)};
  ivec2 size = textureSize(g, 0);
  vec2 texel = 1.0 / vec2(size);
  ivec2 jump = place(apart - ${String(RUN)}, size.x);
  ivec2 at;
  ${normsCode(GLSL, variant, { loop, end: (result) => `setOutput(${result});` })}
}`;
}
