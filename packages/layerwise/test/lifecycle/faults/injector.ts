/**
 * Allocations that fail: in the kernels' memory, of that memory itself, of ordinary arrays of 1 KB and more, and of
 * workers. Each is a point; a run counts them, and one of them may fail.
 */
import { Worker } from "node:worker_threads";
import { vi } from "vitest";
import type { Arena } from "../../../src/kernels/wasm/memory/arena.js";

export type Kind = "in the kernels' memory" | "growth" | "memory" | "array" | "worker";

const OF_THE_KERNELS: ReadonlySet<Kind> = new Set<Kind>([
  "in the kernels' memory",
  "growth",
  "memory",
]);

/** "rest of the call": the kernels' memory stays full until the call is over. */
export type Extent = "once" | "rest of the call";

const LEAST_BYTES = 1024;

export class Injector {
  /** The kind of every point passed. */
  readonly points: Kind[] = [];
  #failAt = Infinity;
  #extent: Extent = "once";
  #isActive = false;
  #hasFailed = false;
  readonly #undo: (() => void)[] = [];

  /** The point that is to fail, counted from the start. */
  failAt(point: number, extent: Extent): void {
    this.#failAt = point;
    this.#extent = extent;
  }

  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  /** Runs a call with its allocations counted; only in here anything fails. */
  during<Result>(call: () => Result): Result {
    this.#isActive = true;
    try {
      return call();
    } finally {
      this.#isActive = false;
      // What was full has room again.
      if (this.#hasFailed) this.#failAt = Infinity;
    }
  }

  #fails(kind: Kind): boolean {
    if (!this.#isActive) return false;
    const index = this.points.push(kind) - 1;
    const isLater = this.#extent === "rest of the call" && OF_THE_KERNELS.has(kind);
    const isFailure = index === this.#failAt || (isLater && index > this.#failAt);
    this.#hasFailed ||= isFailure;
    return isFailure;
  }

  /** Puts itself between the library and its allocations. */
  install(arena: typeof Arena): void {
    this.#watchArena(arena);
    this.#watchMemory();
    for (const name of ["Float32Array", "Float64Array", "Uint8Array"] as const) {
      this.#watchArrays(name);
    }
    this.#watchBuffers();
    this.#watchWorkers();
  }

  uninstall(): void {
    for (const undo of this.#undo.splice(0).reverse()) undo();
  }

  #watchArena(arena: typeof Arena): void {
    const prototype = arena.prototype as unknown as Record<"allocate", (bytes: number) => unknown>;
    const allocate = prototype.allocate;
    const fails = (): boolean => this.#fails("in the kernels' memory");
    prototype.allocate = function (this: unknown, bytes) {
      return fails() ? null : allocate.call(this, bytes);
    };
    this.#undo.push(() => (prototype.allocate = allocate));
  }

  #watchMemory(): void {
    const { Memory } = WebAssembly;
    const prototype = Memory.prototype as unknown as Record<"grow", (pages: number) => number>;
    const grow = prototype.grow;
    const fails = (kind: Kind): boolean => this.#fails(kind);
    prototype.grow = function (this: unknown, pages) {
      if (fails("growth")) throw new RangeError("WebAssembly.Memory.grow(): Unable to grow");
      return grow.call(this, pages);
    };
    WebAssembly.Memory = new Proxy(Memory, {
      construct: (target, given, newTarget) => {
        if (fails("memory"))
          throw new RangeError("WebAssembly.Memory(): could not allocate memory");
        return Reflect.construct(target, given, newTarget) as object;
      },
    });
    this.#undo.push(() => {
      prototype.grow = grow;
      WebAssembly.Memory = Memory;
    });
  }

  #watchArrays(name: "Float32Array" | "Float64Array" | "Uint8Array"): void {
    const original = globalThis[name];
    const watched = new Proxy(original, {
      construct: (target, given: unknown[], newTarget) => {
        const bytes = elementsOf(given[0]) * original.BYTES_PER_ELEMENT;
        if (bytes >= LEAST_BYTES && this.#fails("array")) {
          throw new RangeError("Array buffer allocation failed");
        }
        return Reflect.construct(target, given, newTarget) as object;
      },
    });
    const set = (type: unknown): void => {
      Object.assign(globalThis, { [name]: type });
      // slice() and map() make their arrays with this one.
      Object.defineProperty(original.prototype, "constructor", {
        ...{ value: type, writable: true, configurable: true, enumerable: false },
      });
    };
    set(watched);
    this.#undo.push(() => {
      set(original);
    });
  }

  #watchBuffers(): void {
    const original = ArrayBuffer;
    globalThis.ArrayBuffer = new Proxy(original, {
      construct: (target, given: unknown[], newTarget) => {
        if (Number(given[0]) >= LEAST_BYTES && this.#fails("array")) {
          throw new RangeError("Array buffer allocation failed");
        }
        return Reflect.construct(target, given, newTarget) as object;
      },
    });
    this.#undo.push(() => (globalThis.ArrayBuffer = original));
  }

  #watchWorkers(): void {
    const original = process.getBuiltinModule.bind(process);
    const fails = (): boolean => this.#fails("worker");
    class Watched extends Worker {
      constructor(source: string, options: object) {
        if (fails()) throw new Error("ERR_WORKER_INIT_FAILED: EAGAIN");
        super(source, options);
      }
    }
    const spy = vi
      .spyOn(process, "getBuiltinModule")
      .mockImplementation((name: string) =>
        name === "node:worker_threads" ? { Worker: Watched } : original(name),
      );
    this.#undo.push(() => {
      spy.mockRestore();
    });
  }
}

/** Elements that a constructor of typed arrays makes room for; 0 for a view of a buffer. */
function elementsOf(given: unknown): number {
  if (typeof given === "number") return given;
  if (given instanceof ArrayBuffer || given instanceof SharedArrayBuffer) return 0;
  return typeof given === "object" && given !== null && "length" in given
    ? Number(given.length)
    : 0;
}
