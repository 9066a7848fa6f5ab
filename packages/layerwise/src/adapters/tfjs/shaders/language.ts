/** WGSL and GLSL, which say the same in other words. */

type Type = "float" | "vec3" | "vec4";

export interface Language {
  /** A type's name, which makes its values too. */
  readonly type: (type: Type) => string;
  /** What stands before the name of a value, and of a variable, where it gets its first value. */
  readonly value: (type: Type) => string;
  readonly variable: (type: Type) => string;
  /** Of each of four: the first where the gradient is exactly 0, else the second. */
  readonly whereZero: (first: string, second: string) => string;
  /** A number of the host, by its place among them. */
  readonly hostNumber: (place: number) => string;
  /** A scale of the device, whose index is a number of the host. */
  readonly scale: (at: string) => string;
}

const WGSL_TYPES = { float: "f32", vec3: "vec3<f32>", vec4: "vec4<f32>" } as const;

export const WGSL: Language = {
  type: (type) => WGSL_TYPES[type],
  value: () => "let",
  variable: () => "var",
  whereZero: (first, second) => `select(${second}, ${first}, gradient == vec4<f32>(0.0))`,
  hostNumber: (place) => `numbers.f${String(place)}`,
  scale: (at) => `scales[u32(${at})]`,
};

export const GLSL: Language = {
  type: (type) => type,
  value: (type) => type,
  variable: (type) => type,
  whereZero: (first, second) => `mix(${second}, ${first}, equal(gradient, vec4(0.0)))`,
  hostNumber: (place) => `numbers[${String(place)}]`,
  scale: (at) => `scale(${at})`,
};
