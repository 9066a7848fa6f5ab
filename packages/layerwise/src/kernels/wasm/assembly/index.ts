/** The kernels of layerwise for WebAssembly: what the loader calls. */
import { fillTables as fill, SCRATCH_BYTES, TABLES_BYTES, useMemory as use } from "./blockwise";
import { measure as measureTask } from "./measure";
import { apply as applyTask } from "./apply";
import { Task } from "./task";

export function tablesBytes(): i32 {
  return TABLES_BYTES;
}

export function scratchBytes(): i32 {
  return SCRATCH_BYTES;
}

/** Says where the shared tables and this thread's scratch lie. */
export function useMemory(tables: usize, scratch: usize): void {
  use(tables, scratch);
}

/** Fills the tables from the 256 codebook values at their start; once for all threads. */
export function fillTables(): void {
  fill();
}

export function measure(task: usize): void {
  measureTask(changetype<Task>(task));
}

export function apply(task: usize): void {
  applyTask(changetype<Task>(task));
}
