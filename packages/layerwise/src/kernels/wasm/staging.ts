/**
 * The way in and out for arrays outside the kernels' memory: one chunk at a time is copied into a
 * place that stays in the second-level cache, worked on, and copied back if it was written.
 */
import { BLOCK_SIZE } from "../../state/codebook.js";
import { CHUNK_SIZE } from "../kernel.js";
import type { KernelTask, LayerArrays } from "../kernel.js";
import type { Arena } from "./arena.js";
import type { Addresses, Pass, PlacedTask } from "./job.js";

type Part = "weights" | "gradient" | "momentum" | "absmax";

/** One of a layer's arrays, and how many elements of the layer each of its elements stands for. */
interface PartArray {
  readonly part: Part;
  readonly array: Float32Array | Uint8Array;
  readonly stride: number;
}

/** The arrays of a layer, one by one. */
function partsOf({ weights, gradient, momentum }: LayerArrays): PartArray[] {
  const parts: PartArray[] = [
    { part: "weights", array: weights, stride: 1 },
    { part: "gradient", array: gradient, stride: 1 },
  ];
  if (momentum?.kind === "float32") {
    parts.push({ part: "momentum", array: momentum.values, stride: 1 });
  } else if (momentum?.kind === "blockwise") {
    parts.push({ part: "momentum", array: momentum.codes, stride: 1 });
    parts.push({ part: "absmax", array: momentum.absmax, stride: BLOCK_SIZE });
  }
  return parts;
}

/** A task as a job takes it, if all its arrays lie in the kernels' memory, else null. */
export function placedWhole(task: KernelTask, arena: Arena): PlacedTask | null {
  const parts = partsOf(task.arrays);
  if (!parts.every(({ array }) => arena.owns(array))) return null;
  const addresses: Record<Part, number> = { weights: 0, gradient: 0, momentum: 0, absmax: 0 };
  for (const { part, array } of parts) addresses[part] = array.byteOffset;
  return { task, addresses, size: task.arrays.weights.length };
}

export class Staging {
  readonly #arena: Arena;
  readonly #places: Addresses;

  constructor(arena: Arena) {
    const place = (): number => arena.allocateOrThrow(CHUNK_SIZE * 4);
    this.#arena = arena;
    this.#places = { weights: place(), gradient: place(), momentum: place(), absmax: place() };
  }

  /** Calls back with the task's chunks in order, each brought in before and, after "apply", put back. */
  forEachChunk(task: KernelTask, pass: Pass, run: (placed: PlacedTask) => void): void {
    const parts = partsOf(task.arrays);
    const size = task.arrays.weights.length;
    for (let start = 0; start < size; start += CHUNK_SIZE) {
      const end = Math.min(start + CHUNK_SIZE, size);
      run({ task, addresses: this.#bringIn(parts, start, end), size: end - start });
      if (pass === "apply") this.#putBack(parts, start, end);
    }
  }

  #bringIn(parts: readonly PartArray[], start: number, end: number): Addresses {
    const addresses = { weights: 0, gradient: 0, momentum: 0, absmax: 0 };
    for (const { part, array, stride } of parts) {
      const [from, to] = [start / stride, Math.ceil(end / stride)];
      if (this.#arena.owns(array)) {
        addresses[part] = array.byteOffset + from * array.BYTES_PER_ELEMENT;
      } else {
        addresses[part] = this.#places[part];
        this.#view(part, array, to - from).set(array.subarray(from, to));
      }
    }
    return addresses;
  }

  #putBack(parts: readonly PartArray[], start: number, end: number): void {
    for (const { part, array, stride } of parts) {
      if (part === "gradient" || this.#arena.owns(array)) continue;
      const [from, to] = [start / stride, Math.ceil(end / stride)];
      array.set(this.#view(part, array, to - from), from);
    }
  }

  /** The place of a part, seen as elements of the type that its array has. */
  #view(part: Part, like: Float32Array | Uint8Array, length: number): Float32Array | Uint8Array {
    const { buffer } = this.#arena;
    const address = this.#places[part];
    return like instanceof Float32Array
      ? new Float32Array(buffer, address, length)
      : new Uint8Array(buffer, address, length);
  }
}
