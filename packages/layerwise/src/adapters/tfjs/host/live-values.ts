/** The memory behind tensors, for the backends whose memory JavaScript can reach. */
import { shown } from "../../../check.js";
import { ForeignHeap } from "../../../kernels/wasm/memory/foreign-heap.js";
import type { Backend, Engine, Tensor } from "../tensorflow.js";

/** tfjs-backend-cpu: a buffer is a typed array. */
interface CpuBackend extends Backend {
  readonly data: { get(dataId: object): { readonly values: unknown } };
}

/** tfjs-backend-wasm: a buffer is a part of its heap, which moves when it grows. */
interface WasmBackend extends Backend {
  readonly dataIdMap: {
    get(dataId: object): { readonly id: number; readonly memoryOffset: number };
  };
  readonly wasm: {
    readonly tfjs: {
      registerTensor(id: number, size: number, memoryOffset: number): void;
      disposeData(id: number): void;
    };
    /** Emscripten's exports: the memory is one of them, or, where threads share it, a member of its own. */
    readonly asm?: { readonly memory?: unknown };
    readonly wasmMemory?: unknown;
    readonly _malloc?: (bytes: number) => number;
    readonly _free?: (address: number) => void;
  };
  typedArrayFromHeap(tensor: Tensor): unknown;
}

/** How to reach tensors' buffers. */
export interface LiveMemory {
  /** The buffer of a tensor itself, no copy, to be used at once. A buffer on another backend is moved here. */
  read(tensor: Tensor): Float32Array;
  /** Whether nobody but the tensor can have its buffer, so that it may be written in place. */
  isPrivate(tensor: Tensor): boolean;
  /** To be said after a buffer was written in place: the backend may have kept something made of its values. */
  written(tensor: Tensor): void;
}

/** The heaps of the wasm backends that there are. */
const heaps = new WeakMap<Backend, ForeignHeap>();

/** The heap of the wasm backend, in which our kernels can work; null on other backends, and where it is hidden. */
export function heapOf({ backendName, backend }: Engine): ForeignHeap | null {
  if (backendName !== "wasm") return null;
  const known = heaps.get(backend);
  if (known !== undefined) return known;
  const { wasm } = backend as WasmBackend;
  const { asm, wasmMemory, _malloc: malloc, _free: free } = wasm;
  const memory = wasmMemory ?? asm?.memory;
  if (!(memory instanceof WebAssembly.Memory) || malloc === undefined || free === undefined) {
    return null;
  }
  const heap = new ForeignHeap({ memory, malloc, free });
  heaps.set(backend, heap);
  return heap;
}

/** The memory of the engine's backend, or null where only tensor operations can reach it. */
export function liveMemory(engine: Engine): LiveMemory | null {
  const { backendName, backend } = engine;
  if (backendName === "cpu") return cpuMemory(backend as CpuBackend);
  if (backendName === "wasm") return wasmMemory(backend as WasmBackend, heapOf(engine));
  return null;
}

function cpuMemory({ data }: CpuBackend): LiveMemory {
  return {
    read: ({ dataId }) => checked(data.get(dataId).values),
    // The array may be anyone's: `tf.tensor(array)` is made of it, `data()` and `dataSync()` give it away, slices are views of it.
    isPrivate: () => false,
    written: () => undefined,
  };
}

function wasmMemory(backend: WasmBackend, heap: ForeignHeap | null): LiveMemory {
  return {
    // A view has the heap's buffer of this moment: it detaches when the heap grows.
    read: (tensor) => {
      const values = checked(backend.typedArrayFromHeap(tensor));
      return heap?.view(values.byteOffset, values.length) ?? values;
    },
    // All others have copies: what tensors are made of goes into the heap, and what is read comes out of it.
    isPrivate: ({ dataId }) => backend.refCount(dataId) === 1,
    // Products and convolutions keep a packed copy of weights by their number (XNNPACK's operators). To forget
    // a number drops the copy and frees nothing else.
    written: ({ dataId, size }) => {
      const { id, memoryOffset } = backend.dataIdMap.get(dataId);
      const { tfjs } = backend.wasm;
      tfjs.disposeData(id);
      tfjs.registerTensor(id, size, memoryOffset);
    },
  };
}

function checked(values: unknown): Float32Array {
  if (values instanceof Float32Array) return values;
  throw new TypeError(`tensor: expected a Float32Array as its buffer, got ${shown(values)}`);
}
