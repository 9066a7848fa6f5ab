/** The memory behind tensors, for the backends whose memory JavaScript can reach. */
import { shown } from "../../check.js";
import type { Backend, Engine, Tensor } from "./tensorflow.js";

/** tfjs-backend-cpu: a buffer is a typed array. */
interface CpuBackend extends Backend {
  readonly data: { get(dataId: object): { readonly values: unknown } };
}

/** tfjs-backend-wasm: a buffer is a part of its heap, which moves when it grows. */
interface WasmBackend extends Backend {
  typedArrayFromHeap(tensor: Tensor): unknown;
}

/** The buffer of a tensor itself, no copy, to be used at once. A buffer on another backend is moved here. */
export type ReadLive = (tensor: Tensor) => Float32Array;

/** How to reach the memory of the engine's backend, or null where only tensor operations can. */
export function liveMemory({ backendName, backend }: Engine): ReadLive | null {
  if (backendName === "cpu") {
    const { data } = backend as CpuBackend;
    return (tensor) => checked(data.get(tensor.dataId).values);
  }
  if (backendName === "wasm") {
    // A view has the heap's buffer of this moment: it detaches when the heap grows.
    return (tensor) => checked((backend as WasmBackend).typedArrayFromHeap(tensor));
  }
  return null;
}

function checked(values: unknown): Float32Array {
  if (values instanceof Float32Array) return values;
  throw new TypeError(`a float32 tensor's buffer is ${shown(values)}; allowed is a Float32Array`);
}
