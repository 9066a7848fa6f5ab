/** A SIMD copy in WebAssembly, on one thread and on two: what this machine's memory allows. */
import { readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { EPOCH, HEAP, instantiateCopy, JOB } from "./copy-kernel.js";
import type { CopyExports } from "./copy-kernel.js";

const PAGE_BYTES = 65_536;
const MOST_PAGES = 65_536;
const CHUNK_BYTES = 128 * 1024;
const CACHE_LINE = 64;

/** More than any cache holds, as source and as target; a larger copy goes over them again. */
const MOST_BYTES_PER_SIDE = 512 * 1024 * 1024;

export class Copy {
  readonly #memory: WebAssembly.Memory;
  readonly #exports: CopyExports;
  readonly #worker: Worker;
  readonly #bytesPerSide: number;

  /** @param bytesMoved read and written together, in the largest copy that will be asked for */
  constructor(bytesMoved: number) {
    this.#bytesPerSide = Math.min(wholeLines(bytesMoved / 2), MOST_BYTES_PER_SIDE);
    const pages = Math.ceil((HEAP + 2 * this.#bytesPerSide) / PAGE_BYTES);
    this.#memory = new WebAssembly.Memory({ initial: pages, maximum: MOST_PAGES, shared: true });
    const binary = readFileSync(new URL("../copy.wasm", import.meta.url));
    const module = new WebAssembly.Module(binary);
    this.#exports = instantiateCopy({ module, memory: this.#memory });
    this.#worker = new Worker(new URL("./copy-worker.js", import.meta.url), {
      workerData: { module, memory: this.#memory },
    });
    this.#worker.unref();
    // Written once, so that every page is there and no zero page is read.
    new Uint8Array(this.#memory.buffer, HEAP).fill(1);
  }

  /** @param bytesMoved read and written together */
  run(bytesMoved: number, threads: 1 | 2): void {
    let rest = wholeLines(bytesMoved / 2);
    while (rest > 0) {
      const bytes = Math.min(rest, this.#bytesPerSide);
      this.#runOnce(bytes, threads);
      rest -= bytes;
    }
  }

  /** @throws Error when a copy does not copy */
  check(): void {
    for (const threads of [1, 2] as const) {
      const bytes = new Uint8Array(this.#memory.buffer, HEAP);
      const [from, to] = [0, this.#bytesPerSide];
      for (let i = 0; i < this.#bytesPerSide; i += 61) bytes[from + i] = (i * 7 + threads) & 255;
      this.run(2 * this.#bytesPerSide, threads);
      for (let i = 0; i < this.#bytesPerSide; i += 61) {
        if (bytes[to + i] !== ((i * 7 + threads) & 255)) {
          throw new Error(`copy on ${threads} threads: byte ${i} is wrong`);
        }
      }
    }
  }

  async dispose(): Promise<void> {
    await this.#worker.terminate();
  }

  #runOnce(bytes: number, threads: 1 | 2): void {
    const words = new Int32Array(this.#memory.buffer);
    const count = Math.ceil(bytes / CHUNK_BYTES);
    const last = bytes - (count - 1) * CHUNK_BYTES;
    words.set([0, 0, count, CHUNK_BYTES, last, HEAP, HEAP + this.#bytesPerSide], JOB / 4);
    if (threads === 2) {
      Atomics.add(words, EPOCH, 1);
      Atomics.notify(words, EPOCH);
    }
    this.#exports.work(JOB);
    while (Atomics.load(words, JOB / 4 + 1) < count);
  }
}

function wholeLines(bytes: number): number {
  return Math.ceil(bytes / CACHE_LINE) * CACHE_LINE;
}
