/** The kernels of layerwise for WebAssembly: what the loader calls. */
import { fillTables as fill } from "./blockwise";
import { Job, work as workOn } from "./job";
import { CODEBOOK, HEAP, SCRATCH_BYTES, useScratch as use } from "./layout";

/** Address of the 256 float32 values of the codebook. */
export function codebook(): usize {
  return CODEBOOK;
}

/** Where free memory begins. */
export function heap(): usize {
  return HEAP;
}

/** Bytes of the scratch that each thread has. */
export function scratchBytes(): i32 {
  return SCRATCH_BYTES;
}

/** Says where this thread's scratch lies. */
export function useScratch(address: usize): void {
  use(address);
}

/** Fills the tables from the codebook; once for all threads. */
export function fillTables(): void {
  fill();
}

/** Takes chunks of a job until there are none left. */
export function work(job: usize): void {
  workOn(changetype<Job>(job));
}
