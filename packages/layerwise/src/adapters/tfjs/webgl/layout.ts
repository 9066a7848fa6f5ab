/** How a layer's elements lie in texels, and the GLSL that finds them. */
import { texelShape } from "./backend.js";
import type { TexelShape, Uniform } from "./backend.js";

/**
 * Texels at a layer's edges are not full where rows or columns are odd in number. "none": all are full. "row": the layer
 * is one row, of an even number, so that half of each texel is empty. "any" is right for all, with divisions that the
 * others need not make.
 */
export type Edges = "none" | "row" | "any";

export interface Layout {
  readonly texels: TexelShape;
  readonly edges: Edges;
  /** The GLSL's `extent`: rows, columns, texels and elements. */
  readonly extent: Uniform;
}

export function layoutOf(shape: readonly number[]): Layout {
  const texels = texelShape(shape);
  const [batch, rows, columns] = texels;
  const count = batch * Math.ceil(rows / 2) * Math.ceil(columns / 2);
  const values = [rows, columns, count, batch * rows * columns];
  return { texels, edges: edgesOf(texels), extent: { name: "extent", type: "ivec4", values } };
}

function edgesOf([batch, rows, columns]: TexelShape): Edges {
  if (columns % 2 !== 0) return "any";
  if (rows % 2 === 0) return "none";
  return batch === 1 && rows === 1 ? "row" : "any";
}

/** Rows and columns of texels. */
const IN_TEXELS = `
int texelsInRow() { return (extent.y + 1) / 2; }
int texelsInBatch() { return texelsInRow() * ((extent.x + 1) / 2); }
ivec3 cornerOf(int i) {
  int batch = i / texelsInBatch();
  int rest = i - batch * texelsInBatch();
  int row = rest / texelsInRow();
  return ivec3(batch, 2 * row, 2 * (rest - row * texelsInRow()));
}
ivec4 elementsOf(int i) {
  ivec3 corner = cornerOf(i);
  int first = (corner.x * extent.x + corner.y) * extent.y + corner.z;
  return first + ivec4(0, 1, extent.y, extent.y + 1);
}
int texelAt(int inBatch, int batch, int column) {
  return batch * texelsInBatch() + (inBatch / 2) * texelsInRow() + column / 2;
}`;

/** `within(x, i)`: texel i without what is not an element; `elementsOf(i)`: which elements it has. */
export const ELEMENTS: Readonly<Record<Edges, string>> = {
  none: `${IN_TEXELS}
vec4 within(vec4 x, int i) { return x; }`,
  row: `
vec4 within(vec4 x, int i) { return vec4(x.xy, 0.0, 0.0); }
ivec4 elementsOf(int i) { return ivec4(2 * i, 2 * i + 1, 0, 0); }`,
  any: `${IN_TEXELS}
vec4 within(vec4 x, int i) {
  ivec3 corner = cornerOf(i);
  bool right = corner.z + 1 < extent.y;
  bool below = corner.y + 1 < extent.x;
  return mix(vec4(0.0), x, bvec4(true, right, below, right && below));
}`,
};

/** Goes on from texel to texel, without the division that finds one. */
const GOING_ON = `
ivec2 at;
vec4 nextTexel(sampler2D x) {
  ivec2 size = textureSize(x, 0);
  vec4 texel = texture(x, (vec2(at) + 0.5) / vec2(size));
  at.x++;
  if (at.x == size.x) { at = ivec2(0, at.y + 1); }
  return texel;
}`;

/**
 * Elements in their order: `seek(x, e)` goes to element e, an even one, and each `nextTwo(x)` gives two. Divisions are made
 * where a row begins only.
 */
export const IN_ORDER: Readonly<Record<Edges, string>> = {
  none: `${GOING_ON}
int row;
int column;
bool isUpper;
void land(sampler2D x) {
  int batch = row / extent.x;
  int inBatch = row - batch * extent.x;
  at = place(texelAt(inBatch, batch, column), textureSize(x, 0).x);
  isUpper = (inBatch & 1) == 0;
}
void seek(sampler2D x, int e) {
  row = e / extent.y;
  column = e - row * extent.y;
  land(x);
}
vec2 nextTwo(sampler2D x) {
  vec4 texel = nextTexel(x);
  vec2 two = isUpper ? texel.xy : texel.zw;
  column += 2;
  if (column == extent.y) {
    column = 0;
    row++;
    land(x);
  }
  return two;
}`,
  row: `${GOING_ON}
void seek(sampler2D x, int e) { at = place(e / 2, textureSize(x, 0).x); }
vec2 nextTwo(sampler2D x) { return nextTexel(x).xy; }`,
  any: `
int element;
void seek(sampler2D x, int e) { element = e; }
float nextOne(sampler2D x) {
  int row = element / extent.y;
  int column = element - row * extent.y;
  int batch = row / extent.x;
  int inBatch = row - batch * extent.x;
  vec4 texel = texelOf(x, texelAt(inBatch, batch, column));
  element++;
  vec2 two = (inBatch & 1) == 0 ? texel.xy : texel.zw;
  return (column & 1) == 0 ? two.x : two.y;
}
vec2 nextTwo(sampler2D x) {
  float first = nextOne(x);
  return vec2(first, nextOne(x));
}`,
};
