/** The kernels of layerwise for WebAssembly: what the loader calls. */
import { fillTables as fill } from "./blockwise";
import { Job, work as workOn } from "./job";
import { SCRATCH_BYTES, TABLE_BYTES, useScratch, useTables } from "./layout";

/** Bytes of the tables that all threads read; the first 1,024 are the codebook's 256 float32 values. */
export function tableBytes(): i32 {
  return TABLE_BYTES;
}

/** Bytes of the scratch that each thread has. */
export function scratchBytes(): i32 {
  return SCRATCH_BYTES;
}

/** Says where the tables and this thread's scratch lie. */
export function place(tables: usize, scratch: usize): void {
  useTables(tables);
  useScratch(scratch);
}

/** Fills the tables from the codebook; once for all threads. */
export function fillTables(): void {
  fill();
}

/** Takes chunks of a job until there are none left. */
export function work(job: usize): void {
  workOn(changetype<Job>(job));
}
