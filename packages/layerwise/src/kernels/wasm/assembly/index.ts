/** The kernels of layerwise for WebAssembly: what the loader calls. */
import { fillTables as fill, TABLES_BYTES, useTables } from "./blockwise";
import { Job, work as workOn } from "./job";
import { SCRATCH_BYTES, useScratch } from "./scratch";

/** Bytes of the tables that all threads share. */
export function tablesBytes(): i32 {
  return TABLES_BYTES;
}

/** Bytes of the scratch that each thread has. */
export function scratchBytes(): i32 {
  return SCRATCH_BYTES;
}

/** Says where the tables and this thread's scratch lie. */
export function useMemory(tables: usize, scratch: usize): void {
  useTables(tables);
  useScratch(scratch);
}

/** Fills the tables from the 256 codebook values at their start; once for all threads. */
export function fillTables(): void {
  fill();
}

/** Takes chunks of a job until there are none left. */
export function work(job: usize): void {
  workOn(changetype<Job>(job));
}
