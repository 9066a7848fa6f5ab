/** A step by the core's kernels, on tensors whose memory JavaScript can reach: the backends cpu and wasm. */
import type { Kernel } from "../../../kernels/kernel.js";
import { foreignKernel } from "../../../kernels/wasm/foreign-kernel.js";
import type { ForeignHeap } from "../../../kernels/wasm/memory/foreign-heap.js";
import { availableCores } from "../../../kernels/wasm/worker-host.js";
import type { LARS } from "../../../optimizer/lars.js";
import type { ParamGroup } from "../../../optimizer/param-group.js";
import { Parameter, rebind } from "../../../optimizer/parameter.js";
import type { LARSOptions } from "../../../options/options.js";
import { blockCount } from "../../../state/blockwise.js";
import type { StateDict } from "../../../state/saved-state.js";
import { wantedMomentum } from "../../../step/momentum.js";
import type { MomentumKind } from "../../../step/momentum.js";
import type { StepReport } from "../../../step/report.js";
import type { InitialState, Slot, Stepper, VariableStep } from "../stepper.js";
import type { Backend, Engine, TensorFlow, Variable } from "../tensorflow.js";
import { heapOf, liveMemory } from "./live-values.js";
import type { LiveMemory } from "./live-values.js";

/** More than the allocations of a momentum waste. */
const WASTED_BYTES = 512;

/** The kernels in a heap, or undefined where the engine can't put them there, or the heap is full. */
function kernelOver(heap: ForeignHeap): Kernel | undefined {
  try {
    return foreignKernel(heap, availableCores());
  } catch (error) {
    const kinds = [WebAssembly.CompileError, WebAssembly.LinkError, RangeError];
    if (kinds.some((kind) => error instanceof kind)) return undefined;
    throw error;
  }
}

/** The core's class that steps, and its options. */
export interface CoreOptimizer {
  readonly Core: typeof LARS;
  readonly options: LARSOptions;
}

function momentumBytes(kind: MomentumKind, size: number): number {
  return kind === "none" ? 0 : kind === "float32" ? 4 * size : size + 4 * blockCount(size);
}

export class HostStepper implements Stepper {
  readonly #tf: TensorFlow;
  readonly #core: CoreOptimizer;
  readonly #backend: Backend;
  /** The backend's own heap, where steps run in place; null: weights and gradients pass through ours. */
  readonly #heap: ForeignHeap | null;
  /** Variables whose momentum is not there yet. */
  readonly #fresh = new Set<Slot>();
  readonly #parameters = new Map<Slot, Parameter>();
  #optimizer: LARS | null = null;

  constructor(tf: TensorFlow, core: CoreOptimizer) {
    this.#tf = tf;
    this.#core = core;
    this.#backend = tf.engine().backend;
    this.#heap = heapOf(tf.engine());
  }

  runsOn({ backend }: Engine): boolean {
    return backend === this.#backend;
  }

  get stateBytes(): number {
    return this.#optimizer?.stateBytes ?? 0;
  }

  add(slots: readonly Slot[], { states, stepCount }: InitialState): void {
    const isNew = this.#optimizer === null;
    for (const slot of slots) {
      // Until a step puts it on the variable's memory.
      const data = new Float32Array(slot.size);
      const parameter = new Parameter(data, { name: slot.name, shape: slot.shape });
      this.#optimizer = this.#with(slot, parameter);
      this.#parameters.set(slot, parameter);
      this.#fresh.add(slot);
    }
    if (states.size > 0 || (isNew && stepCount > 0)) this.#load(stepCount, states);
  }

  /** The optimizer, with one more variable: a group of its own. */
  #with({ options }: Slot, parameter: Parameter): LARS {
    const group = { ...options, params: [parameter] };
    const optimizer = this.#optimizer;
    if (optimizer !== null) {
      optimizer.addParamGroup(group);
      return optimizer;
    }
    const kernel = this.#heap === null ? undefined : kernelOver(this.#heap);
    const { Core, options: all } = this.#core;
    return new Core([group], all, kernel === undefined ? {} : { kernel });
  }

  #load(stepCount: number, states: InitialState["states"]): void {
    const slots = [...this.#parameters.keys()];
    this.#optimizer?.loadStateDict({
      step: stepCount,
      layers: this.stateSync().layers.map((layer, index) => {
        const slot = slots[index]!;
        // Saved under the name of another variable, perhaps.
        return { ...(states.get(slot) ?? layer), name: slot.name };
      }),
    });
  }

  /** The core's optimizers keep their groups: another one goes on with the rest. */
  remove(slots: readonly Slot[]): void {
    const gone = slots.filter((slot) => this.#parameters.has(slot));
    if (gone.length === 0) return;
    const { step, layers } = this.stateSync();
    const states = new Map([...this.#parameters.keys()].map((slot, i) => [slot, layers[i]!]));
    for (const slot of gone) states.delete(slot);
    const fresh = [...this.#fresh].filter((slot) => states.has(slot));
    this.dispose();
    if (states.size === 0) return;
    this.add([...states.keys()], { states, stepCount: step });
    this.#fresh.clear();
    for (const slot of fresh) this.#fresh.add(slot);
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
      for (const { slot } of steps) {
        const copy = copied.get(slot);
        if (copy === undefined) live.written(slot.variable);
        else this.#assign(slot.variable, copy);
      }
      return report;
    } finally {
      for (const { slot } of steps) this.#parameterOf(slot).grad = null;
    }
  }

  /** Room in the backend's heap for the momentum that a step allocates there: if the heap grew in a step, views would detach. */
  #makeRoom(steps: readonly VariableStep[]): void {
    if (this.#heap === null) return;
    const fresh = steps.filter(({ slot }) => this.#fresh.has(slot));
    if (fresh.length === 0) return;
    const bytes = fresh.map(
      ({ slot: { values, size } }) =>
        momentumBytes(wantedMomentum(values, size), size) + WASTED_BYTES,
    );
    this.#heap.reserve(bytes.reduce((sum, more) => sum + more, 0));
  }

  /**
   * Puts the parameters on the tensors' memory. Nothing may allocate tensors from here to the step's end.
   *
   * @returns copies of weights whose memory others may see too: they are written instead, and assigned
   */
  #bind(steps: readonly VariableStep[], live: LiveMemory): Map<Slot, Float32Array> {
    // First touch moves buffers from another backend here, which may make a heap grow.
    for (const { slot, gradient } of steps) {
      live.read(slot.variable);
      live.read(gradient);
    }
    const copied = new Map<Slot, Float32Array>();
    for (const { slot, gradient } of steps) {
      const parameter = this.#parameterOf(slot);
      const values = live.read(slot.variable);
      if (live.isPrivate(slot.variable)) {
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

  #assign(variable: Variable, values: Float32Array): void {
    const tensor = this.#tf.tensor(values, [...variable.shape], "float32");
    variable.assign(tensor);
    tensor.dispose();
  }

  async state(): Promise<StateDict> {
    return Promise.resolve(this.stateSync());
  }

  stateSync(): StateDict {
    return this.#optimizer?.stateDict() ?? { step: 0, layers: [] };
  }

  dispose(): void {
    this.#optimizer?.dispose();
    this.#optimizer = null;
    this.#parameters.clear();
    this.#fresh.clear();
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
