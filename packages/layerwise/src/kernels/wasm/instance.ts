/** From the inlined bytes to a running instance, synchronously: in Node and on a page's main thread. */
import { createDynamicMap } from "../../state/codebook.js";
import { Arena } from "./arena.js";
import { wasmHex } from "./binary.generated.js";

/** The exports of assembly/index.ts. */
export interface KernelExports {
  codebook(): number;
  heap(): number;
  scratchBytes(): number;
  useScratch(address: number): void;
  fillTables(): void;
  work(job: number): void;
}

export interface KernelInstance {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly arena: Arena;
  readonly exports: KernelExports;
  /** False where the platform gives no shared memory: then nothing but staging lies in the arena. */
  readonly isShared: boolean;
}

/** 4 MB, of which the tables take 0.3. */
const INITIAL_PAGES = 64;
/** 4 GiB, all that 32-bit addresses reach. */
const MAXIMUM_PAGES = 65536;
const UNSHARED_PAGES = 128;

/** The binary is inlined as hexadecimal: it compresses a quarter better than base64. */
function decodeHex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: text.length / 2 }, (_, index) =>
    Number.parseInt(text.slice(2 * index, 2 * index + 2), 16),
  );
}

/**
 * The module imports a shared memory. Where there is none, one byte makes the import an ordinary
 * memory with a maximum: the kernels use no atomic instruction.
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

function createMemory(): { memory: WebAssembly.Memory; isShared: boolean; maximum: number } {
  const initial = INITIAL_PAGES;
  try {
    const memory = new WebAssembly.Memory({ initial, maximum: MAXIMUM_PAGES, shared: true });
    return { memory, isShared: true, maximum: MAXIMUM_PAGES };
  } catch {
    // Growing an unshared memory would detach the views that users hold, so it is made in its final
    // size and holds no user's arrays.
    const memory = new WebAssembly.Memory({ initial: UNSHARED_PAGES, maximum: MAXIMUM_PAGES });
    return { memory, isShared: false, maximum: UNSHARED_PAGES };
  }
}

/**
 * Compiles and starts the kernels.
 *
 * @throws WebAssembly.CompileError on an engine without WebAssembly SIMD
 */
export function instantiate(): KernelInstance {
  const { memory, isShared, maximum } = createMemory();
  const binary = decodeHex(wasmHex);
  const module = new WebAssembly.Module(isShared ? binary : withUnsharedMemory(binary));
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const kernels = exports as unknown as KernelExports;
  const arena = new Arena(memory, kernels.heap(), maximum);
  kernels.useScratch(arena.allocateOrThrow(kernels.scratchBytes()));
  const codebook = createDynamicMap();
  new Float32Array(arena.buffer, kernels.codebook(), codebook.length).set(codebook);
  kernels.fillTables();
  return { module, memory, arena, exports: kernels, isShared };
}
