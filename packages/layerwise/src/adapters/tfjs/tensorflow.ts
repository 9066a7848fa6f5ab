/**
 * What the adapter needs of TensorFlow.js, as structural types: the library depends on no copy of it, and
 * `tf` is an argument, since two copies of tfjs-core have two engines and two serialization registries.
 *
 * Source: tfjs-core 4.22 (`engine.ts`, `tensor.ts`, `serialization.ts`, `optimizers/optimizer.ts`).
 */

export type TensorData = Float32Array | Int32Array | Uint8Array;

export interface Tensor {
  /** The key of the tensor's buffer in its backend. Clones and reshapes share it. */
  readonly dataId: object;
  readonly shape: readonly number[];
  readonly size: number;
  readonly dtype: string;
  readonly isDisposed: boolean;
  data(): Promise<TensorData>;
  dataSync(): TensorData;
  dispose(): void;
}

export interface Variable extends Tensor {
  readonly name: string;
  assign(value: Tensor): void;
}

export interface NamedTensor {
  name: string;
  tensor: Tensor;
}

/** What kernels of a backend work with: a tensor that nobody tracks. */
export interface TensorInfo {
  readonly dataId: object;
  readonly shape: readonly number[];
  readonly dtype: string;
}

/** A backend: which one it is, `engine().backendName` says. */
export interface Backend {
  /** Tensors that share a buffer. */
  refCount(dataId: object): number;
}

/** Flags of the backends. */
export interface Environment {
  getBool(flag: string): boolean;
  getNumber(flag: string): number;
}

export interface Engine {
  readonly backendName: string;
  readonly backend: Backend;
  readonly registeredVariables: Readonly<Record<string, Variable>>;
  makeTensorFromTensorInfo(info: TensorInfo): Tensor;
}

/** The members of `tf.Optimizer` that its subclass works with. */
export interface BaseOptimizer {
  iterations_?: number;
  computeGradients(
    f: () => Tensor,
    varList?: readonly Variable[],
  ): { value: Tensor; grads: Record<string, Tensor> };
  minimize(f: () => Tensor, returnCost?: boolean, varList?: readonly Variable[]): Tensor | null;
  dispose(): void;
}

type Operand = Tensor | number;

/**
 * The namespace of TensorFlow.js, as users give it: `@tensorflow/tfjs`, `@tensorflow/tfjs-core` or
 * `@tensorflow/tfjs-node`. Its operations are generic in its own tensors, so that no structural type fits them;
 * {@link TensorFlow} is how the adapter calls them.
 */
export interface TensorFlowNamespace {
  readonly Optimizer: abstract new () => object;
  readonly serialization: object;
  engine(): object;
}

/** The same, as the adapter calls it. */
export interface TensorFlow {
  readonly Optimizer: abstract new () => object;
  readonly serialization: { registerClass(cls: never, pkg?: string): unknown };
  engine(): Engine;
  getKernel(name: string, backend: string): unknown;
  env(): Environment;

  /** Disposes of all tensors that the body makes and does not return, in an object or list of them. */
  tidy<Made>(body: () => Made): Made;
  keep(tensor: Tensor): Tensor;
  tensor(values: TensorData, shape: number[], dtype?: "float32" | "int32"): Tensor;
  scalar(value: number, dtype?: "float32" | "int32"): Tensor;
  dispose(tensors: unknown): void;
  fill(shape: number[], value: number): Tensor;
  cast(x: Tensor, dtype: "float32" | "int32"): Tensor;
  clone(x: Tensor): Tensor;

  add(a: Operand, b: Operand): Tensor;
  sub(a: Operand, b: Operand): Tensor;
  mul(a: Operand, b: Operand): Tensor;
  div(a: Operand, b: Operand): Tensor;
  mod(a: Operand, b: Operand): Tensor;
  minimum(a: Operand, b: Operand): Tensor;
  abs(x: Tensor): Tensor;
  floor(x: Tensor): Tensor;
  sqrt(x: Tensor): Tensor;
  square(x: Tensor): Tensor;
  isFinite(x: Tensor): Tensor;
  equal(a: Operand, b: Operand): Tensor;
  notEqual(a: Operand, b: Operand): Tensor;
  less(a: Operand, b: Operand): Tensor;
  lessEqual(a: Operand, b: Operand): Tensor;
  greater(a: Operand, b: Operand): Tensor;
  greaterEqual(a: Operand, b: Operand): Tensor;
  logicalAnd(a: Tensor, b: Tensor): Tensor;
  logicalOr(a: Tensor, b: Tensor): Tensor;
  where(condition: Tensor, a: Tensor, b: Tensor): Tensor;

  all(x: Tensor): Tensor;
  any(x: Tensor, axis?: number): Tensor;
  max(x: Tensor, axis?: number): Tensor;
  min(x: Tensor): Tensor;
  sum(x: Tensor, axis?: number): Tensor;

  reshape(x: Tensor, shape: number[]): Tensor;
  slice(x: Tensor, begin: number, size: number): Tensor;
  pad(x: Tensor, paddings: [number, number][], value?: number): Tensor;
  stack(tensors: Tensor[], axis?: number): Tensor;
  unstack(x: Tensor, axis: number): Tensor[];
  concat(tensors: Tensor[], axis?: number): Tensor;
  gather(x: Tensor, indices: Tensor): Tensor;
  lowerBound(sorted: Tensor, values: Tensor): Tensor;
}
