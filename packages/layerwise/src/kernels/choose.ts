/** Which kernel runs: the one asked for, or the fastest that this engine can run. */
import type { Kernel } from "./kernel.js";
import { referenceKernel } from "./reference.js";
import { WasmKernel } from "./wasm/wasm-kernel.js";

export type KernelName = "reference" | "wasm";

let wasmKernel: WasmKernel | undefined;

/** One instance for the whole program: parameters and optimizers meet in its memory. */
function sharedWasmKernel(): WasmKernel {
  wasmKernel ??= new WasmKernel();
  return wasmKernel;
}

/** The WebAssembly kernel where it runs, else the reference kernel. */
export function defaultKernel(): Kernel {
  try {
    return sharedWasmKernel();
  } catch (error) {
    if (error instanceof WebAssembly.CompileError) return referenceKernel;
    throw error;
  }
}

/**
 * @throws RangeError for another name; WebAssembly.CompileError when "wasm" is asked for on an engine
 *   without WebAssembly SIMD
 */
export function kernelNamed(name: KernelName | undefined): Kernel {
  switch (name) {
    case undefined:
      return defaultKernel();
    case "reference":
      return referenceKernel;
    case "wasm":
      return sharedWasmKernel();
    default:
      throw new RangeError(
        `kernel: got ${JSON.stringify(name)}; allowed are "wasm" and "reference"`,
      );
  }
}
