/** A step by the core's kernels, on tensors whose memory JavaScript can reach: the backends cpu and wasm. */
import { CHUNK_SIZE } from "../../../kernels/kernel.js";
import type { Kernel } from "../../../kernels/kernel.js";
import { foreignKernel } from "../../../kernels/wasm/foreign-kernel.js";
import type { ForeignHeap } from "../../../kernels/wasm/memory/foreign-heap.js";
import { MOST_CHUNKS } from "../../../kernels/wasm/memory/staging.js";
import { availableCores } from "../../../kernels/wasm/worker-host.js";
import type { LARS } from "../../../optimizer/lars.js";
import type { ParamGroup, ParamGroupOptions } from "../../../optimizer/param-group.js";
import { Parameter, rebind } from "../../../optimizer/parameter.js";
import type { LARSOptions } from "../../../options/options.js";
import { blockCount } from "../../../state/blockwise.js";
import type { LayerState, StateDict } from "../../../state/saved-state.js";
import { wantedMomentum } from "../../../step/momentum.js";
import type { MomentumKind } from "../../../step/momentum.js";
import type { StepReport } from "../../../step/report.js";
import { hyperparametersOf } from "../options.js";
import type { CoreClass } from "../options.js";
import type { Slot, Stepper, VariableStep } from "../stepper.js";
import type { Backend, Engine, TensorFlow, Variable } from "../tensorflow.js";
import { heapOf, liveMemory } from "./live-values.js";
import type { LiveMemory } from "./live-values.js";

/** More than a layer takes in a job, and more than an allocation wastes. */
const JOB_BYTES = 512;
/** More than a chunk's sums take, in a job that has just grown. */
const JOB_BYTES_A_CHUNK = 96;
/** For copies of weights whose buffer others see too, which pass through the heap: two banks, 12 bytes an element. */
const BANK_BYTES = 2 * MOST_CHUNKS * CHUNK_SIZE * 13;

/** The kernels in a heap, or undefined where the engine can't put them there. */
function kernelOver(heap: ForeignHeap): Kernel | undefined {
  try {
    return foreignKernel(heap, availableCores());
  } catch (error) {
    if (error instanceof WebAssembly.CompileError || error instanceof WebAssembly.LinkError) {
      return undefined;
    }
    throw error;
  }
}

function momentumBytes(kind: MomentumKind, size: number): number {
  return kind === "none" ? 0 : kind === "float32" ? 4 * size : size + 4 * blockCount(size);
}

export class HostStepper implements Stepper {
  readonly #tf: TensorFlow;
  readonly #Core: CoreClass;
  readonly #options: LARSOptions;
  readonly #backend: Backend;
  /** The backend's own heap, where steps run in place; null: weights and gradients pass through ours. */
  readonly #heap: ForeignHeap | null;
  /** Variables whose momentum is not there yet. */
  readonly #fresh = new Set<Slot>();
  readonly #parameters = new Map<Slot, Parameter>();
  #optimizer: LARS | null = null;
  /**
   * Buffers that the optimizer made. On the cpu backend a tensor made of a typed array is that array: before it
   * is written in place for the first time, it is replaced by one that nobody else can have.
   */
  readonly #own = new WeakSet();

  constructor(tf: TensorFlow, Core: CoreClass, options: LARSOptions) {
    this.#tf = tf;
    this.#Core = Core;
    this.#options = options;
    this.#backend = tf.engine().backend;
    this.#heap = heapOf(tf.engine());
  }

  runsOn({ backend }: Engine): boolean {
    return backend === this.#backend;
  }

  get stateBytes(): number {
    return this.#optimizer?.stateBytes ?? 0;
  }

  add(slot: Slot): void {
    const parameter = new Parameter(new Float32Array(slot.size), {
      name: slot.name,
      shape: slot.shape,
    });
    const group = { ...slot.options, params: [parameter] };
    if (this.#optimizer === null) this.#optimizer = this.#create(group);
    else this.#optimizer.addParamGroup(group);
    this.#parameters.set(slot, parameter);
    this.#fresh.add(slot);
  }

  #create(group: ParamGroupOptions): LARS {
    const kernel = this.#heap === null ? undefined : kernelOver(this.#heap);
    return new this.#Core([group], this.#options, kernel === undefined ? {} : { kernel });
  }

  step(steps: readonly VariableStep[], lr: LARSOptions["lr"]): StepReport | null {
    const live = liveMemory(this.#tf.engine());
    const optimizer = this.#optimizer;
    if (live === null || optimizer === null) return null;
    for (const [slot, group] of this.#groups(optimizer)) {
      if (slot.options.lr === undefined) group.lr = lr;
    }
    this.#makeRoom(steps);
    const copied = this.#bind(steps, live);
    try {
      const report = optimizer.step();
      if (report.skipped) return report;
      for (const { slot } of steps) this.#fresh.delete(slot);
      for (const { slot, variable } of steps) {
        const copy = copied.get(slot);
        if (copy === undefined) live.written(variable);
        else this.#assign(variable, copy);
      }
      return report;
    } finally {
      for (const { slot } of steps) this.#parameterOf(slot).grad = null;
    }
  }

  /** Room in the backend's heap for all that a step may allocate there: if the heap grew in a step, views would detach. */
  #makeRoom(steps: readonly VariableStep[]): void {
    if (this.#heap === null) return;
    const bytes = steps.map(({ slot }) => {
      const job = JOB_BYTES + JOB_BYTES_A_CHUNK * Math.ceil(slot.size / CHUNK_SIZE);
      if (!this.#fresh.has(slot)) return job;
      const values = hyperparametersOf(this.#Core, this.#options, slot.options);
      return job + momentumBytes(wantedMomentum(values, slot.size), slot.size) + JOB_BYTES;
    });
    this.#heap.reserve(bytes.reduce((sum, more) => sum + more, BANK_BYTES));
  }

  /**
   * Puts the parameters on the tensors' memory. Nothing may allocate tensors from here to the step's end.
   *
   * @returns copies of weights whose buffer others see too
   */
  #bind(steps: readonly VariableStep[], live: LiveMemory): Map<Slot, Float32Array> {
    // First touch moves buffers from another backend here, which may make a heap grow.
    for (const { variable, gradient } of steps) {
      live.read(variable);
      live.read(gradient);
    }
    const { backend } = this.#tf.engine();
    const copied = new Map<Slot, Float32Array>();
    for (const { slot, variable, gradient } of steps) {
      const parameter = this.#parameterOf(slot);
      const values = live.read(variable);
      if (this.#isOurs(variable) && backend.refCount(variable.dataId) === 1) {
        rebind(parameter, values);
      } else {
        const copy = values.slice();
        rebind(parameter, copy);
        copied.set(slot, copy);
      }
      parameter.grad = live.read(gradient);
    }
    return copied;
  }

  /** The wasm backend copies what tensors are made of into its heap: there, every buffer is only TensorFlow's. */
  #isOurs({ dataId }: Variable): boolean {
    return this.#tf.engine().backendName !== "cpu" || this.#own.has(dataId);
  }

  #assign(variable: Variable, values: Float32Array): void {
    const tensor = this.#tf.tensor(values, [...variable.shape], "float32");
    variable.assign(tensor);
    tensor.dispose();
    this.#own.add(variable.dataId);
  }

  async state(): Promise<StateDict> {
    return Promise.resolve(this.stateSync());
  }

  stateSync(): StateDict {
    return this.#optimizer?.stateDict() ?? { step: 0, layers: [] };
  }

  load(stepCount: number, layers: ReadonlyMap<Slot, LayerState>): void {
    const slots = [...this.#parameters.keys()];
    const state = this.stateSync();
    this.#optimizer?.loadStateDict({
      step: stepCount,
      layers: state.layers.map((layer, index) => layers.get(slots[index]!) ?? layer),
    });
  }

  dispose(): void {
    this.#optimizer?.dispose();
    this.#optimizer = null;
    this.#parameters.clear();
  }

  /** A group for each variable, in the same order. */
  *#groups({ paramGroups }: LARS): Generator<[Slot, ParamGroup]> {
    let index = 0;
    for (const slot of this.#parameters.keys()) {
      const group = paramGroups[index++];
      if (group !== undefined) yield [slot, group];
    }
  }

  #parameterOf(slot: Slot): Parameter {
    const parameter = this.#parameters.get(slot);
    if (parameter === undefined) throw new Error(`variable ${slot.name} was not added`);
    return parameter;
  }
}
