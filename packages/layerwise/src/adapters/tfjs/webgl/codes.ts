/** 8-bit momentum in shaders for WebGL: codes are read three to a number, and made from the new momentum. */
import { KEY_SHIFT, LARGEST_REST } from "../../../state/code-keys.js";
import { BLOCK_SIZE, createDynamicMap } from "../../../state/codebook.js";
import { createCodeTable, KEYS, LEAST_BITS } from "../shaders/code-table.js";
import type { TensorInfo } from "../tensorflow.js";
import { PLACE } from "./backend.js";
import type { Uniform, WebGLBackend } from "./backend.js";
import { ELEMENTS, IN_ORDER } from "./layout.js";
import type { Edges } from "./layout.js";

/** Texels of a row of the table, a power of two, and its rows. */
const TABLE_WIDTH = 64;
const TABLE_HEIGHT = Math.ceil((2 * KEYS) / TABLE_WIDTH);

/** Texel i: the codebook's value i; of key i the code, and up to which rest of the bits it holds. See {@link createCodeTable}. */
const tables = new WeakMap<WebGLBackend, TensorInfo>();

/** They live as long as the backend does: 45 KB. */
export function tablesOn(backend: WebGLBackend): TensorInfo {
  const known = tables.get(backend);
  if (known !== undefined) return known;
  const codebook = createDynamicMap();
  const keys = createCodeTable();
  const values = new Float32Array(4 * TABLE_HEIGHT * TABLE_WIDTH);
  keys.forEach((entry, i) => {
    const [x, y] = [2 * (i % TABLE_WIDTH), 2 * Math.floor(i / TABLE_WIDTH)];
    const above = y * 2 * TABLE_WIDTH + x;
    values[above] = codebook[i] ?? 0;
    values[above + 1] = entry & 255;
    values[above + 2 * TABLE_WIDTH] = entry >>> 8;
  });
  const info = backend.makeTensorInfo([1, 2 * TABLE_HEIGHT, 2 * TABLE_WIDTH], "float32", values);
  tables.set(backend, info);
  return info;
}

/** The GLSL's `shift_x` and `unit_x` of a table: texels in a row, as a power of two, and the size of one. */
export function tableUniforms(name: "codes" | "absmax", { shape }: TensorInfo): Uniform[] {
  const [rows, columns] = [shape[0]! / 2, shape[1]! / 2];
  return [
    { name: `shift_${name}`, type: "int", values: [Math.log2(columns)] },
    { name: `unit_${name}`, type: "vec2", values: [1 / columns, 1 / rows] },
  ];
}

/**
 * In tables, part k is two numbers side by side. Of codes these are six, from element 6·k on. Textures are sampled: on
 * SwiftShader fetching a texel took several times as long.
 */
const CODES = `
vec2 partOf(sampler2D x, int k, int shift, vec2 unit) {
  int row = k >> shift;
  vec2 place = vec2(k - (row << shift), row >> 1) + 0.5;
  vec4 texel = texture(x, place * unit);
  return (row & 1) == 0 ? texel.xy : texel.zw;
}
vec4 tableAt(uint i) {
  vec2 place = vec2(i & ${String(TABLE_WIDTH - 1)}u, i / ${String(TABLE_WIDTH)}u) + 0.5;
  return texture(tables, place / vec2(${String(TABLE_WIDTH)}.0, ${String(TABLE_HEIGHT)}.0));
}
float absmaxOf(int e) {
  vec2 two = partOf(absmax, e / ${String(2 * BLOCK_SIZE)}, shift_absmax, unit_absmax);
  return (e & ${String(BLOCK_SIZE)}) == 0 ? two.x : two.y;
}
uvec2 twoCodes(uvec2 numbers, int place) {
  uint middle = (numbers.x >> 16u) | (numbers.y << 8u);
  uint both = place == 0 ? numbers.x : place == 2 ? middle : numbers.y >> 8u;
  return uvec2(both, both >> 8u) & 255u;
}`;

/** `load_m(i)`, from codes. */
export function decodingCode(edges: Edges): string {
  return `${CODES}
vec2 decodedTwo(int e) {
  int k = e / 6;
  uvec2 numbers = uvec2(partOf(codes, k, shift_codes, unit_codes));
  uvec2 two = twoCodes(numbers, e - 6 * k);
  return vec2(tableAt(two.x).x, tableAt(two.y).x) * absmaxOf(e);
}
${LOADING[edges]}`;
}

const LOADING: Readonly<Record<Edges, string>> = {
  none: `
vec4 load_m(int i) {
  ivec4 e = elementsOf(i);
  return vec4(decodedTwo(e.x), decodedTwo(e.z));
}`,
  row: `
vec4 load_m(int i) {
  return vec4(decodedTwo(2 * i), 0.0, 0.0);
}`,
  any: `
float decoded(int e) {
  vec2 two = decodedTwo(e - (e & 1));
  return (e & 1) == 0 ? two.x : two.y;
}
vec4 load_m(int i) {
  ivec4 e = elementsOf(i);
  return within(vec4(decoded(e.x), decoded(e.y), decoded(e.z), decoded(e.w)), i);
}`,
};

/** What of a layer changes the code. */
export interface CodesVariant {
  readonly edges: Edges;
  readonly skipZeros: boolean;
}

/** What begins the shaders that go over blocks in the order of elements. */
function inOrder(edges: Edges): string {
  return [PLACE, ELEMENTS[edges], IN_ORDER[edges]].join("\n");
}

/** `vec4 ofFour(here)`: what `ofBlock(block)` says of the four blocks of a texel, which are in two rows. */
const OF_FOUR = `
vec4 ofFour(ivec2 here) {
  int upper = 2 * (((2 * here.y) << shift_absmax) + here.x);
  int lower = upper + (2 << shift_absmax);
  return vec4(ofBlock(upper), ofBlock(upper + 1), ofBlock(lower), ofBlock(lower + 1));
}`;

/** Looks at all elements of a block, two at a time. Where there is but one more, the other is 0. */
function lookAtBlock(x: string, body: string): string {
  return `
  int first = block * ${String(BLOCK_SIZE)};
  int end = min(first + ${String(BLOCK_SIZE)}, extent.w);
  seek(${x}, first);
  for (int e = first; e < end; e += 2) {
    vec2 two = nextTwo(${x});
    two.y = e + 1 < end ? two.y : 0.0;
    ${body}
  }`;
}

/** Makes a table: 1 for each block that has a gradient which is not 0. */
export function touchedCode(edges: Edges): string {
  return `
${inOrder(edges)}
float ofBlock(int block) {
  float touched = 0.0;
  ${lookAtBlock("g", "touched = two.x != 0.0 || two.y != 0.0 ? 1.0 : touched;")}
  return touched;
}
${OF_FOUR}
void main() { setOutput(ofFour(ivec2(gl_FragCoord.xy))); }`;
}

/** Makes absmax of m'; `absmax` is the old one, which is kept where the step is skipped, and in blocks without gradient. */
export function absmaxCode({ edges, skipZeros }: CodesVariant): string {
  const kept = skipZeros
    ? "mix(before, made, greaterThan(texelFetch(touched, here, 0), vec4(0.0)))"
    : "made";
  return `
${inOrder(edges)}
float ofBlock(int block) {
  float largest = 0.0;
  ${lookAtBlock("m", "largest = max(largest, max(abs(two.x), abs(two.y)));")}
  return largest;
}
${OF_FOUR}
void main() {
  ivec2 here = ivec2(gl_FragCoord.xy);
  vec4 before = texelFetch(absmax, here, 0);
  if (texelFetch(ok, ivec2(0), 0).x == 0.0) {
    setOutput(before);
    return;
  }
  vec4 made = ofFour(here);
  setOutput(${kept});
}`;
}

/** Makes the codes of m', twelve a texel; `absmax` is the new one, `codes` are the old ones. */
export function codesCode({ edges, skipZeros }: CodesVariant): string {
  return `
${inOrder(edges)}
${CODES}
uint nearest(float value) {
  uint bits = floatBitsToUint(value);
  uint magnitude = max(bits & 0x7fffffffu, ${String(LEAST_BITS)}u) - ${String(LEAST_BITS)}u;
  uint isNegative = bits >> 31u;
  vec4 entry = tableAt((magnitude >> ${String(KEY_SHIFT)}u) + isNegative * ${String(KEYS)}u);
  bool isNext = (magnitude & ${String(LARGEST_REST)}u) > uint(entry.z);
  return uint(entry.y) + (isNext ? 1u - 2u * isNegative : 0u);
}
uvec2 nextTwoCodes(int e, uvec2 before, int place) {
  float largest = absmaxOf(e);
  vec2 two = nextTwo(m);
  // Beyond the layer there may be anything, and a code must not be more than a byte.
  two = e < extent.w ? two / (largest > 0.0 ? largest : 1.0) : vec2(0.0);
  two = clamp(two, -1.0, 1.0);
  uvec2 made = uvec2(nearest(two.x), nearest(two.y));
  ${
    skipZeros
      ? `vec2 blocks = partOf(touched, e / ${String(2 * BLOCK_SIZE)}, shift_absmax, unit_absmax);
  made = ((e & ${String(BLOCK_SIZE)}) == 0 ? blocks.x : blocks.y) > 0.0 ? made : twoCodes(before, place);`
      : ""
  }
  return made;
}
vec2 sixCodes(int k, uvec2 before) {
  int e = 6 * k;
  seek(m, e);
  uvec2 a = nextTwoCodes(e, before, 0);
  uvec2 b = nextTwoCodes(e + 2, before, 2);
  uvec2 c = nextTwoCodes(e + 4, before, 4);
  return vec2(a.x | (a.y << 8u) | (b.x << 16u), b.y | (c.x << 8u) | (c.y << 16u));
}
void main() {
  ivec2 here = ivec2(gl_FragCoord.xy);
  vec4 before = texelFetch(codes, here, 0);
  if (texelFetch(ok, ivec2(0), 0).x == 0.0) {
    setOutput(before);
    return;
  }
  int upper = ((2 * here.y) << shift_codes) + here.x;
  int lower = upper + (1 << shift_codes);
  setOutput(vec4(sixCodes(upper, uvec2(before.xy)), sixCodes(lower, uvec2(before.zw))));
}`;
}
