/**
 * A WebAssembly.Memory, as far as the library uses it. The declarations of the package name this type and not
 * TypeScript's own, which only programs compiled with the DOM library (or Node's types) have.
 */
export interface WasmMemory {
  readonly buffer: ArrayBufferLike;
  grow(pages: number): number;
}
