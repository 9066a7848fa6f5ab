/**
 * How this machine adds a product. WebAssembly's relaxed SIMD rounds once where the processor has a fused multiply-add
 * and twice elsewhere, so gradients from an engine that uses it differ in their last bits. The kernels of this library
 * do not use it.
 *
 * Source: https://github.com/WebAssembly/relaxed-simd.
 */

/** A module that exports f(a, b, c): a·b + c by f32x4.relaxed_madd, in float32. */
const MODULE = [
  [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  // Type: (f32, f32, f32) → f32.
  [0x01, 0x08, 0x01, 0x60, 0x03, 0x7d, 0x7d, 0x7d, 0x01, 0x7d],
  // One function of it, exported as f.
  [0x03, 0x02, 0x01, 0x00],
  [0x07, 0x05, 0x01, 0x01, 0x66, 0x00, 0x00],
  // splat a, splat b, splat c, relaxed_madd, lane 0.
  [0x0a, 0x16, 0x01, 0x14, 0x00],
  [0x20, 0x00, 0xfd, 0x13, 0x20, 0x01, 0xfd, 0x13, 0x20, 0x02, 0xfd, 0x13],
  [0xfd, 0x85, 0x02, 0xfd, 0x1f, 0x00, 0x0b],
].flat();

/** What {@link instructionSet} tells. */
export type InstructionSet =
  | "relaxed SIMD with fused multiply-add"
  | "relaxed SIMD without fused multiply-add"
  | "no relaxed SIMD";

/** The kind of arithmetic that engines find here. */
export function instructionSet(): InstructionSet {
  const multiplyAdd = compiled();
  if (multiplyAdd === null) return "no relaxed SIMD";
  // (1 + 2^-12)² = 1 + 2^-11 + 2^-24, whose last term float32 has no room for.
  const rest = multiplyAdd(1 + 2 ** -12, 1 + 2 ** -12, -(1 + 2 ** -11));
  return rest === 0
    ? "relaxed SIMD without fused multiply-add"
    : "relaxed SIMD with fused multiply-add";
}

function compiled(): ((a: number, b: number, c: number) => number) | null {
  try {
    const module = new WebAssembly.Module(Uint8Array.from(MODULE));
    return new WebAssembly.Instance(module).exports.f as (
      a: number,
      b: number,
      c: number,
    ) => number;
  } catch {
    return null;
  }
}
