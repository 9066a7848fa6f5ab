/**
 * Our shaders among those of TensorFlow.js' WebGPU backend: on its device, on its buffers, in its queue.
 * The backend's own shaders write one new tensor each; a step writes two in place.
 *
 * Source: tfjs-backend-webgpu 4.22 (`backend_webgpu.ts`: `runWebGPUProgram`, `recordAndSubmit`, `uploadToGPU`).
 */
import type { Backend, Tensor, TensorFlow, TensorInfo } from "../tensorflow.js";

/** What the backend knows of a buffer. */
interface BufferData {
  /** null: the values are on the host only, or nowhere yet. */
  resource: GPUBuffer | null;
  /** Given by the user with `zeroCopy`: it stays the user's. */
  readonly external?: boolean;
}

/** The members of the backend that are used, some of them its own business. */
export interface WebGPUBackend extends Backend {
  readonly device: GPUDevice;
  readonly tensorMap: { get(dataId: object): BufferData };
  /** Buffers of these are not given to others until the commands are submitted. */
  readonly commandQueueOwnedIds: WeakSet<object>;
  commandEncoder: GPUCommandEncoder | null;
  computePassEncoder: GPUComputePassEncoder | null;
  dispatchCountInPass: number;
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
  submitQueue(): void;
  makeTensorInfo(shape: readonly number[], dtype: string): TensorInfo;
  uploadToGPU(dataId: object): void;
  makeUniforms(fields: readonly { type: "float32"; data: number[] }[]): GPUBufferBinding;
}

const MEMBERS = [
  ...["device", "tensorMap", "commandQueueOwnedIds", "commandEncoder", "computePassEncoder"],
  ...["dispatchCountInPass", "ensureCommandEncoderReady", "endComputePassEncoder", "submitQueue"],
  ...["makeTensorInfo", "uploadToGPU", "makeUniforms"],
];

/** Whether a backend is tfjs-backend-webgpu, with all that is used of it. */
export function isWebGPUBackend(name: string, backend: Backend): backend is WebGPUBackend {
  return name === "webgpu" && MEMBERS.every((member) => member in backend);
}

/** Dispatches after which the backend submits its commands: its flag `WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE`. */
const SUBMITTED_DISPATCHES = 15;

/** What a shader reads or writes. */
export type Binding =
  | {
      readonly name: string;
      readonly access: "read" | "read_write";
      /** WGSL's name for an element. */
      readonly element: string;
      readonly of: TensorInfo | GPUBuffer;
    }
  | { readonly name: string; readonly access: "uniform"; readonly numbers: readonly number[] };

export interface Shader {
  /** Differs where the code differs, beyond its bindings. */
  readonly name: string;
  readonly bindings: readonly Binding[];
  /** WGSL, without the declarations of bindings. Its `main` finds its work group's number by {@link GROUP}. */
  readonly code: () => string;
}

/** For WGSL: arguments of `main`, and what makes one number of them. */
export const MAIN_ARGUMENTS = `
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32`;
export const GROUP = "(group.y * groups.x + group.x)";

/** A device's pipelines, by name and declarations. */
const pipelinesOf = new WeakMap<GPUDevice, Map<string, GPUComputePipeline>>();

export class WebGPURunner {
  readonly #tf: TensorFlow;
  readonly #backend: WebGPUBackend;
  readonly #pipelines: Map<string, GPUComputePipeline>;

  constructor(tf: TensorFlow, backend: WebGPUBackend) {
    this.#tf = tf;
    this.#backend = backend;
    const { device } = backend;
    this.#pipelines = pipelinesOf.get(device) ?? new Map<string, GPUComputePipeline>();
    pipelinesOf.set(device, this.#pipelines);
  }

  get device(): GPUDevice {
    return this.#backend.device;
  }

  /** A tensor for a shader to write. */
  create(shape: readonly number[]): Tensor {
    const info = this.#backend.makeTensorInfo(shape, "float32");
    this.#backend.uploadToGPU(info.dataId);
    return this.#tf.engine().makeTensorFromTensorInfo(info);
  }

  /**
   * A writable tensor with the same values. It takes over the buffer of the given one, which must not be used
   * any more, or copies the buffer if clones or reshapes share it.
   *
   * The buffer moves to a new tensor, because a pending read would leave old values in the old
   * tensor.
   */
  takeOver(tensor: Tensor): Tensor {
    const backend = this.#backend;
    backend.uploadToGPU(tensor.dataId);
    const from = backend.tensorMap.get(tensor.dataId);
    const info = backend.makeTensorInfo([...tensor.shape], tensor.dtype);
    if (backend.refCount(tensor.dataId) === 1 && from.external !== true) {
      backend.tensorMap.get(info.dataId).resource = from.resource;
      from.resource = null;
    } else {
      backend.uploadToGPU(info.dataId);
      this.#copy(tensor, info);
    }
    return this.#tf.engine().makeTensorFromTensorInfo(info);
  }

  #copy(from: TensorInfo, to: TensorInfo): void {
    const backend = this.#backend;
    backend.ensureCommandEncoderReady();
    backend.endComputePassEncoder();
    const [source, target] = [this.#bufferOf(from), this.#bufferOf(to)];
    backend.commandEncoder?.copyBufferToBuffer(source, 0, target, 0, target.size);
  }

  /** The buffer of a tensor, kept for the commands that are being recorded. */
  #bufferOf({ dataId }: TensorInfo): GPUBuffer {
    const backend = this.#backend;
    backend.uploadToGPU(dataId);
    backend.commandQueueOwnedIds.add(dataId);
    const { resource } = backend.tensorMap.get(dataId);
    if (resource === null) throw new Error("a tensor has no buffer on the device");
    return resource;
  }

  /** Records a shader's run, among the backend's own; it is submitted with them. */
  run(shader: Shader, workGroups: number): void {
    const backend = this.#backend;
    const pipeline = this.#pipelineOf(shader);
    const entries = shader.bindings.map((binding, index) => ({
      binding: index,
      resource: this.#resourceOf(binding),
    }));
    const bindGroup = this.device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries,
    });
    backend.ensureCommandEncoderReady();
    const pass = (backend.computePassEncoder ??= backend.commandEncoder!.beginComputePass());
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    const { maxComputeWorkgroupsPerDimension: most } = this.device.limits;
    pass.dispatchWorkgroups(Math.min(workGroups, most), Math.ceil(workGroups / most));
    backend.dispatchCountInPass++;
    if (backend.dispatchCountInPass < SUBMITTED_DISPATCHES) return;
    backend.endComputePassEncoder();
    backend.submitQueue();
  }

  #resourceOf(binding: Binding): GPUBufferBinding {
    if (binding.access === "uniform") {
      return this.#backend.makeUniforms(
        binding.numbers.map((number) => ({ type: "float32", data: [number] })),
      );
    }
    const { of } = binding;
    return { buffer: "dataId" in of ? this.#bufferOf(of) : of };
  }

  #pipelineOf({ name, bindings, code }: Shader): GPUComputePipeline {
    const declarations = bindings.map(declarationOf).join("\n");
    const key = `${name}\n${declarations}`;
    const known = this.#pipelines.get(key);
    if (known !== undefined) return known;
    const module = this.device.createShaderModule({ code: `${declarations}\n${code()}` });
    const pipeline = this.device.createComputePipeline({
      layout: this.#layoutOf(bindings),
      compute: { module, entryPoint: "main" },
    });
    this.#pipelines.set(key, pipeline);
    return pipeline;
  }

  /** Said in full: a layout that is found from the code leaves out what the code does not use. */
  #layoutOf(bindings: readonly Binding[]): GPUPipelineLayout {
    const entries = bindings.map(({ access }, binding) => ({
      binding,
      visibility: COMPUTE_STAGE,
      buffer: { type: BUFFER_TYPES[access] },
    }));
    const bindGroupLayouts = [this.device.createBindGroupLayout({ entries })];
    return this.device.createPipelineLayout({ bindGroupLayouts });
  }
}

/** `GPUShaderStage.COMPUTE`: TypeScript's library has no such object. */
const COMPUTE_STAGE = 0x4;

const BUFFER_TYPES = {
  read: "read-only-storage",
  read_write: "storage",
  uniform: "uniform",
} as const;

function declarationOf(binding: Binding, index: number): string {
  const place = `@group(0) @binding(${String(index)})`;
  const { name } = binding;
  if (binding.access !== "uniform") {
    return `${place} var<storage, ${binding.access}> ${name}: array<${binding.element}>;`;
  }
  const members = binding.numbers.map((_, i) => `f${String(i)}: f32`).join(", ");
  return `struct Uniform_${name} { ${members} }
    ${place} var<uniform> ${name}: Uniform_${name};`;
}
