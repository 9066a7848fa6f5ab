/** Which kernel runs: the one asked for, or the fastest that this engine can run. */
import { warnOnce } from "../warn.js";
import type { Kernel, KernelTask } from "./kernel.js";
import { referenceKernel } from "./reference.js";
import { WasmRuntime } from "./wasm/runtime.js";
import { runPass, WasmKernel } from "./wasm/wasm-kernel.js";
import { availableCores } from "./wasm/worker-host.js";

export type KernelName = "reference" | "wasm";

/** The program's one runtime, whose memory parameters and optimizers share; or the reason why there is none. */
let shared: { readonly runtime: WasmRuntime } | { readonly error: unknown } | undefined;

function startOnce(): NonNullable<typeof shared> {
  try {
    shared ??= { runtime: new WasmRuntime() };
  } catch (error) {
    shared = { error };
  }
  return shared;
}

/** The shared runtime, or null where WebAssembly can't start: no SIMD, a content security policy, no address space. */
export function availableRuntime(): WasmRuntime | null {
  const started = startOnce();
  return "runtime" in started ? started.runtime : null;
}

/**
 * A kernel for one optimizer. Dispose of it with the optimizer.
 *
 * @param kernel a name or a kernel. Default: "wasm" if it runs, else "reference", with a warning
 * @param threads the most that a step may use. Default: one per core
 * @throws Error if "wasm" is requested by name and can't start
 */
export function createKernel(kernel?: KernelName | Kernel, threads = availableCores()): Kernel {
  if (typeof kernel === "object") return kernel;
  if (kernel === "reference") return referenceKernel;
  const started = startOnce();
  if ("runtime" in started) return new WasmKernel(started.runtime, threads);
  const reason = String(started.error);
  if (kernel === "wasm") {
    throw new Error(`kernel: expected WebAssembly with SIMD for "wasm", got ${reason}`, {
      cause: started.error,
    });
  }
  warnOnce(`steps run on the slow "reference" kernel: WebAssembly could not start (${reason})`);
  return referenceKernel;
}

/** Applies tasks on the threads that optimizers have, outside of any optimizer. */
export function applyShared(tasks: readonly KernelTask[]): void {
  const runtime = availableRuntime();
  if (runtime === null) referenceKernel.apply(tasks);
  else runPass(runtime, "apply", tasks, Infinity);
}
