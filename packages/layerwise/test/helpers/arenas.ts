/** How many bytes are allocated in the kernels' memory, for tests of what is given back. */
import { Arena } from "../../src/kernels/wasm/memory/arena.js";

/** What an arena tells of itself, or null. */
function usedOf(arena: Arena): number | null {
  const { used } = arena as unknown as { used?: unknown };
  return typeof used === "number" ? used : null;
}

interface Methods {
  allocate: (bytes: number) => unknown;
  free?: (address: number) => void;
}

export interface ArenaWatch {
  start(): void;
  stop(): void;
  /** Bytes that are allocated now, in all arenas that something was allocated in and that are still reachable. */
  used(): number;
}

/** Watches every arena of a copy of the library from its first allocation on. */
export function watchArenas(type: typeof Arena = Arena): ArenaWatch {
  const prototype = type.prototype as unknown as Methods;
  const { allocate, free } = prototype;
  const arenas = new Set<WeakRef<Arena>>();
  /** Where arenas do not count themselves: sizes by address. */
  const sizes = new WeakMap<Arena, Map<number, number>>();
  return {
    start: () => {
      prototype.allocate = function (this: Arena, bytes) {
        const allocation = allocate.call(this, bytes);
        if (!sizes.has(this)) {
          sizes.set(this, new Map());
          arenas.add(new WeakRef(this));
        }
        if (typeof allocation === "number") sizes.get(this)?.set(allocation, bytes);
        else if (allocation !== null && usedOf(this) === null) {
          throw new Error("arenas whose allocations are no addresses must have a getter `used`");
        }
        return allocation;
      };
      if (free === undefined) return;
      prototype.free = function (this: Arena, address) {
        sizes.get(this)?.delete(address);
        free.call(this, address);
      };
    },
    stop: () => {
      prototype.allocate = allocate;
      if (free !== undefined) prototype.free = free;
    },
    used: () => {
      let sum = 0;
      for (const reference of arenas) {
        const arena = reference.deref();
        if (arena === undefined) continue;
        const tracked = [...(sizes.get(arena)?.values() ?? [])];
        sum += usedOf(arena) ?? tracked.reduce((bytes, size) => bytes + size, 0);
      }
      return sum;
    },
  };
}
