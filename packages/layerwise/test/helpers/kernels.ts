/** The list of kernels that the suite runs over: a new kernel is entered here, and in no test. */
import { describe } from "vitest";
import type { KernelOptions } from "../../src/index.js";
import { kernelNamed } from "../../src/kernels/choose.js";
import type { Kernel } from "../../src/kernels/kernel.js";

export interface TestedKernel {
  readonly name: string;
  /** What a user passes to choose it. */
  readonly options: KernelOptions;
  /** The kernel itself, for the tests of measure and apply. */
  readonly kernel: () => Kernel;
}

export const reference: TestedKernel = {
  name: "reference",
  options: { kernel: "reference" },
  kernel: () => kernelNamed("reference"),
};

export const wasm: TestedKernel = {
  name: "wasm",
  options: { kernel: "wasm" },
  kernel: () => kernelNamed("wasm"),
};

export const kernels: readonly TestedKernel[] = [reference, wasm];

/** Declares the same tests once for every kernel. */
export function forEachKernel(declare: (kernel: TestedKernel) => void): void {
  for (const kernel of kernels) {
    describe(`${kernel.name} kernel`, () => {
      declare(kernel);
    });
  }
}
