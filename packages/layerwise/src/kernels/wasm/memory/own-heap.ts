/** The memories of our own that kernels work on. */
import { Arena } from "./arena.js";

/** 1 MB, of which the kernels' tables take 0.3. */
const INITIAL_PAGES = 16;
/** 4 GiB, all that 32-bit addresses reach. */
const MAXIMUM_PAGES = 65536;

/** @returns null where the platform has no shared memory */
export function createSharedHeap(): Arena | null {
  return createHeap({ shared: true });
}

/** @throws RangeError where the platform has no memory left */
export function createUnsharedHeap(): Arena {
  const heap = createHeap({ shared: false });
  if (heap === null) throw new RangeError("the kernels' memory could not be allocated");
  return heap;
}

function createHeap({ shared }: { shared: boolean }): Arena | null {
  try {
    const limits = { initial: INITIAL_PAGES, maximum: MAXIMUM_PAGES };
    return new Arena(new WebAssembly.Memory({ ...limits, shared }), MAXIMUM_PAGES);
  } catch {
    return null;
  }
}
