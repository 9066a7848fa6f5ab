/** A step by the core's kernels, on tensors whose memory JavaScript can reach: the backends cpu and wasm. */
import type { LARS, StepReport } from "../../lars.js";
import type { LARSOptions } from "../../options.js";
import type { ParamGroup } from "../../param-group.js";
import { Parameter, rebind } from "../../parameter.js";
import type { LayerState, StateDict } from "../../state/saved-state.js";
import { liveMemory } from "./live-values.js";
import type { LiveMemory } from "./live-values.js";
import type { CoreClass } from "./options.js";
import type { Slot, Stepper, VariableStep } from "./stepper.js";
import type { TensorFlow, Variable } from "./tensorflow.js";

export class HostStepper implements Stepper {
  readonly #tf: TensorFlow;
  readonly #Core: CoreClass;
  readonly #options: LARSOptions;
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
    if (this.#optimizer === null) this.#optimizer = new this.#Core([group], this.#options);
    else this.#optimizer.addParamGroup(group);
    this.#parameters.set(slot, parameter);
  }

  step(steps: readonly VariableStep[], lr: LARSOptions["lr"]): StepReport | null {
    const live = liveMemory(this.#tf.engine());
    const optimizer = this.#optimizer;
    if (live === null || optimizer === null) return null;
    for (const [slot, group] of this.#groups(optimizer)) {
      if (slot.options.lr === undefined) group.lr = lr;
    }
    const copied = this.#bind(steps, live);
    try {
      const report = optimizer.step();
      if (report.skipped) return report;
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
