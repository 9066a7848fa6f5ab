/** The memories of our own that kernels work on. */
import { Arena } from "./arena.js";

/** 1 MiB, of which the kernels' tables, a job and a bank take 0.8. */
const INITIAL_PAGES = 16;
/** 4 GiB, all that 32-bit addresses reach. */
const MAXIMUM_PAGES = 65536;

/** @returns null where the platform has no shared memory, or no room for it */
export function createSharedHeap(): Arena | null {
  try {
    return createHeap(true);
  } catch {
    return null;
  }
}

/** @throws RangeError where the platform has no memory left */
export function createUnsharedHeap(): Arena {
  return createHeap(false);
}

function createHeap(shared: boolean): Arena {
  const limits = { initial: INITIAL_PAGES, maximum: MAXIMUM_PAGES };
  return new Arena(new WebAssembly.Memory({ ...limits, shared }), MAXIMUM_PAGES);
}
