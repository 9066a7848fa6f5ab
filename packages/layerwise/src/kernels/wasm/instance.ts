/** From the inlined bytes to running kernels over a memory, synchronously: in Node and on a page's main thread. */
import { wasmHex } from "./binary.generated.js";
import type { Heap } from "./memory/heap.js";

/** The exports of assembly/index.ts. */
export interface KernelExports {
  place(tables: number, scratch: number): void;
  fillTables(): void;
  work(job: number): void;
}

export interface KernelInstance {
  /** A WebAssembly.Module. The type is not named, for the reason in wasm-memory.ts. */
  readonly module: object;
  readonly exports: KernelExports;
}

/** The binary is inlined as hexadecimal: it compresses a quarter better than base64. */
function decodeHex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: text.length / 2 }, (_, index) =>
    Number.parseInt(text.slice(2 * index, 2 * index + 2), 16),
  );
}

/**
 * The module imports a shared memory. For another one, one byte makes the import an ordinary memory with a
 * maximum: threads need shared memory, the kernels' atomic operations do not.
 */
function withUnsharedMemory(binary: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const name = [...new TextEncoder().encode("memory")];
  const at = binary.findIndex((_, start) => name.every((byte, i) => binary[start + i] === byte));
  const limits = at + name.length + 1;
  if (at < 0 || binary[limits] !== 3) throw new Error("the kernels' memory import was not found");
  const copy = binary.slice();
  copy[limits] = 1;
  return copy;
}

const modules = new Map<boolean, WebAssembly.Module>();

/** Compiled once for shared memory and once for other. */
function moduleFor(shared: boolean): WebAssembly.Module {
  let module = modules.get(shared);
  if (module === undefined) {
    const binary = decodeHex(wasmHex);
    module = new WebAssembly.Module(shared ? binary : withUnsharedMemory(binary));
    modules.set(shared, module);
  }
  return module;
}

/**
 * Compiles and starts the kernels over a memory. They work once {@link KernelExports.place} has told them where.
 *
 * @throws WebAssembly.CompileError on an engine without WebAssembly SIMD
 */
export function instantiate({ memory, isShared }: Heap): KernelInstance {
  const module = moduleFor(isShared);
  const instance = new WebAssembly.Instance(module, {
    env: { memory: memory as WebAssembly.Memory },
  });
  return { module, exports: instance.exports as unknown as KernelExports };
}
