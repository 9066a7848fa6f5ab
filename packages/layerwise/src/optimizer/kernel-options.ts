/** How an optimizer runs its steps, as opposed to what they compute. */
import { checkChoice, checkInteger, checkNames, checkObject } from "../check.js";
import type { KernelName } from "../kernels/choose.js";
import type { Kernel } from "../kernels/kernel.js";

const MOST_THREADS = 64;

/** How a step runs, as opposed to what it computes. */
export interface KernelOptions {
  /** "wasm" (SIMD) or "reference" (float64, slow); adapters bring their own. Default: "wasm" where it runs. */
  kernel?: KernelName | Kernel;
  /**
   * The most threads that a step uses, 1 to 64. Default: one per core. Results have the same bits for any number.
   * {@link LARS.threads} is the actual number: 1 in a page that is not cross-origin isolated.
   */
  threads?: number;
}

/** @throws TypeError or RangeError that names the option */
export function checkedKernelOptions(given: unknown): KernelOptions {
  const options = checkObject("kernel options", given);
  checkNames("kernel options", options, ["kernel", "threads"]);
  const { kernel, threads } = options;
  return {
    ...(kernel === undefined ? {} : { kernel: checkedKernel(kernel) }),
    ...(threads === undefined
      ? {}
      : { threads: checkInteger("threads", threads, 1, MOST_THREADS) }),
  };
}

function checkedKernel(given: unknown): KernelName | Kernel {
  const isKernel =
    typeof given === "object" && given !== null && "measure" in given && "apply" in given;
  if (isKernel) return given as Kernel;
  return checkChoice<KernelName>("kernel", given, ["wasm", "reference"]);
}
