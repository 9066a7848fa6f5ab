/** What the copy's threads have in common: the compiled loop, and where its job lies in shared memory. */

/** Index of the word that changes when there is a job. */
export const EPOCH = 0;

/** Address of the job; `assembly/copy.ts` has its fields. */
export const JOB = 64;

/** Address of the first byte that may be copied. */
export const HEAP = 128;

export interface CopyModule {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
}

export interface CopyExports {
  work: (job: number) => void;
}

export function instantiateCopy({ module, memory }: CopyModule): CopyExports {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return exports as unknown as CopyExports;
}
