/** Which kernel runs: the one asked for, or the fastest that this engine can run. */
import type { Kernel } from "./kernel.js";
import { referenceKernel } from "./reference.js";
import { WasmRuntime } from "./wasm/runtime.js";
import { WasmKernel } from "./wasm/wasm-kernel.js";
import { availableCores } from "./wasm/worker-host.js";

export type KernelName = "reference" | "wasm";

let wasmRuntime: WasmRuntime | undefined;

/** One for the whole program: parameters and optimizers meet in its memory. */
function sharedRuntime(): WasmRuntime {
  wasmRuntime ??= new WasmRuntime();
  return wasmRuntime;
}

/** The shared runtime, or null on an engine without WebAssembly SIMD. */
export function availableRuntime(): WasmRuntime | null {
  try {
    return sharedRuntime();
  } catch (error) {
    if (error instanceof WebAssembly.CompileError) return null;
    throw error;
  }
}

/**
 * A kernel for one optimizer. Dispose of it with the optimizer.
 *
 * @param kernel one by name, or one that is there. Default: "wasm" where it runs, else "reference"
 * @param threads the most that a step may use. Default: the cores
 * @throws WebAssembly.CompileError when "wasm" is asked for on an engine without WebAssembly SIMD
 */
export function createKernel(kernel?: KernelName | Kernel, threads = availableCores()): Kernel {
  if (typeof kernel === "object") return kernel;
  const runtime =
    kernel === "wasm" ? sharedRuntime() : kernel === undefined ? availableRuntime() : null;
  return runtime === null ? referenceKernel : new WasmKernel(runtime, threads);
}
