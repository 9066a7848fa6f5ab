/** The kernels of layerwise for WebAssembly: what the loader calls. */
import { fillTables as fill } from "./blockwise";
import { Job, work as workOn } from "./job";
import { useScratch, useTables } from "./layout";

/** Says where the tables and this thread's scratch lie. */
export function place(tables: usize, scratch: usize): void {
  useTables(tables);
  useScratch(scratch);
}

/** Fills the tables from the codebook, which the loader has written to their start; once for all threads. */
export function fillTables(): void {
  fill();
}

/** Takes chunks of a job until there are none left. */
export function work(job: usize): void {
  workOn(changetype<Job>(job));
}
