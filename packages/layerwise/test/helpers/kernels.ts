/** The list of kernels that the suite runs over: a new kernel is entered here, and in no test. */
import { describe } from "vitest";
import type { KernelOptions } from "../../src/index.js";
import { createKernel } from "../../src/kernels/choose.js";
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
  kernel: () => createKernel("reference"),
};

/** On one thread: threads.test.ts shows that any number of them gives the same bits. */
export const wasm: TestedKernel = {
  name: "wasm",
  options: { kernel: "wasm", threads: 1 },
  kernel: () => createKernel("wasm", 1),
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
