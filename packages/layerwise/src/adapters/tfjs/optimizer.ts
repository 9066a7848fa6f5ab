/** LARS as optimizers of TensorFlow.js. They bring its tensors to the core and implement no rule. */
import { shown } from "../../check.js";
import * as core from "../../optimizer/lars.js";
import type { ClassName } from "../../options/fixed-bits.js";
import type { LARSOptions } from "../../options/options.js";
import type { Schedule } from "../../options/schedules.js";
import type { StepReport } from "../../step/report.js";
import { FiniteWatch } from "./device/finite-watch.js";
import { DeviceStepper } from "./device/stepper.js";
import { checkedGradients } from "./gradients.js";
import type { Gradients } from "./gradients.js";
import { liveMemory } from "./host/live-values.js";
import { HostStepper } from "./host/stepper.js";
import { LoadedState } from "./loaded-state.js";
import {
  checkVariableOptions,
  fromConfig,
  hyperparametersOf,
  optionsOf,
  splitOptions,
  toConfig,
} from "./options.js";
import type { Config, SplitOptions, TensorFlowLARSOptions, VariableOptions } from "./options.js";
import type { Slot, Stepper } from "./stepper.js";
import type {
  BaseOptimizer,
  NamedTensor,
  Tensor,
  TensorFlow,
  TensorFlowNamespace,
  Variable,
} from "./tensorflow.js";
import { fromTensors, toTensors } from "./weights.js";

/** Members in addition to those of `tf.Optimizer`. */
export interface LARSMembers {
  /** γ of the variables without a rate of their own: a number ≥ 0, or a schedule. Can be set at any time. */
  learningRate: number | Schedule;
  /** Options by variable. Can be set before the first step. */
  variableOptions: VariableOptions;
  /** The report of the last step; null before the first, and if the numbers stay on the device. */
  readonly lastStep: StepReport | null;
  /** Bytes of optimizer state held now. */
  readonly stateBytes: number;
  /** Sets {@link learningRate}, as in `tf.train.sgd`. */
  setLearningRate(lr: number | Schedule): void;
  /**
   * Waits until the gradients of all steps so far are known to be finite or not: on devices, steps don't wait.
   *
   * @throws NonFiniteGradientError under nonFinite "throw", for a non-finite gradient that no error has reported yet
   */
  settled(): Promise<void>;
}

type OptimizerOf<TF> = TF extends {
  readonly Optimizer: abstract new (...args: never[]) => infer Optimizer;
}
  ? Optimizer
  : never;

/** One of the three classes, as a subclass of the given TensorFlow.js' `tf.Optimizer`. */
export interface LARSClass<TF> {
  /**
   * @param options the core's {@link LARSOptions}, `excludeFromAdaptation` and `variableOptions`
   * @throws TypeError or RangeError that names the option, what was expected, and the value
   */
  new (options: TensorFlowLARSOptions): OptimizerOf<TF> & LARSMembers;
  /** The name under which models are saved. */
  readonly className: string;
  /** Makes an optimizer from what `getConfig` returned. */
  fromConfig<T>(cls: new (options: TensorFlowLARSOptions) => T, config: object): T;
}

/** The three classes for one TensorFlow.js. */
export interface LARSClasses<TF> {
  readonly LARS: LARSClass<TF>;
  readonly LARS8bit: LARSClass<TF>;
  readonly LARS32bit: LARSClass<TF>;
}

/** Once per TensorFlow.js: a second set of classes would take over the registered names of the first. */
const created = new WeakMap<object, LARSClasses<unknown>>();

/**
 * Makes the LARS optimizers for a TensorFlow.js, and registers them for `tf.loadLayersModel`.
 *
 * @param tf the namespace: `import * as tf from "@tensorflow/tfjs"` (4.x)
 * @throws TypeError if it is anything else
 * @example
 * const { LARS8bit } = createLars(tf);
 * model.compile({ optimizer: new LARS8bit({ lr: 0.5, momentum: 0.9 }), loss: "categoricalCrossentropy" });
 */
export function createLars<TF extends TensorFlowNamespace>(tf: TF): LARSClasses<TF> {
  const known = created.get(checkedNamespace(tf));
  if (known !== undefined) return known;
  const called = tf as unknown as TensorFlow;
  const classes = {
    LARS: createClass(called, "LARS"),
    LARS8bit: createClass(called, "LARS8bit"),
    LARS32bit: createClass(called, "LARS32bit"),
  };
  for (const cls of Object.values(classes)) {
    called.serialization.registerClass(cls as never, "layerwise");
  }
  const typed = classes as unknown as LARSClasses<TF>;
  created.set(tf, typed);
  return typed;
}

function checkedNamespace(tf: unknown): object {
  const given = tf as Partial<TensorFlowNamespace> | null | undefined;
  if (typeof given?.engine === "function" && typeof given.Optimizer === "function") return given;
  throw new TypeError(
    `createLars: expected the namespace of TensorFlow.js, import * as tf from "@tensorflow/tfjs", got ${shown(tf)}`,
  );
}

const CORE = { LARS: core.LARS, LARS8bit: core.LARS8bit, LARS32bit: core.LARS32bit } as const;

function createClass(tf: TensorFlow, className: ClassName): object {
  // The structural type lists only what the subclass uses.
  const Base = tf.Optimizer as unknown as new () => BaseOptimizer;

  const cls = class extends Base implements LARSMembers {
    static readonly className = className;

    static fromConfig<T>(cls: new (options: TensorFlowLARSOptions) => T, config: unknown): T {
      return new cls(fromConfig(config));
    }

    lastStep: StepReport | null = null;
    readonly #options: SplitOptions;
    #learningRate: LARSOptions["lr"];
    #variableOptions: VariableOptions;
    readonly #slots = new Map<Variable, Slot>();
    #stepper: Stepper | null = null;
    readonly #watch = new FiniteWatch(tf);
    #loaded = new LoadedState();
    /** Tensors that getWeights made: saving a model does not dispose of them. */
    #exported: NamedTensor[] = [];

    constructor(options: TensorFlowLARSOptions) {
      super();
      this.#options = splitOptions(options);
      hyperparametersOf(className, this.#options.core);
      this.#learningRate = this.#options.core.lr;
      this.#variableOptions = this.#options.variableOptions;
      this.iterations_ = 0;
    }

    get learningRate(): LARSOptions["lr"] {
      return this.#learningRate;
    }

    set learningRate(lr: LARSOptions["lr"]) {
      hyperparametersOf(className, { ...this.#options.core, lr });
      this.#learningRate = lr;
    }

    setLearningRate(lr: LARSOptions["lr"]): void {
      this.learningRate = lr;
    }

    get variableOptions(): VariableOptions {
      return this.#variableOptions;
    }

    set variableOptions(options: VariableOptions) {
      if (this.#slots.size > 0) {
        throw new Error(
          "variableOptions: expected to be set before the first step, got a change after it",
        );
      }
      this.#variableOptions = checkVariableOptions(options);
    }

    get stateBytes(): number {
      this.#releaseDisposed();
      return this.#stepper?.stateBytes ?? 0;
    }

    getClassName(): string {
      return className;
    }

    settled(): Promise<void> {
      return this.#watch.settled();
    }

    /** As in `tf.Optimizer`, except that a step that throws leaves no tensors behind. */
    override minimize(
      f: () => Tensor,
      returnCost = false,
      varList?: readonly Variable[],
    ): Tensor | null {
      const { value, grads } = tf.tidy(() => this.computeGradients(f, varList));
      let cost: Tensor | null = null;
      try {
        this.applyGradients(
          varList?.map(({ name }) => ({ name, tensor: grads[name] ?? null })) ?? grads,
        );
        if (returnCost) cost = value;
      } finally {
        tf.dispose(grads);
        if (cost === null) value.dispose();
      }
      return cost;
    }

    /**
     * Makes one step: completely, or not at all.
     *
     * @param gradients by variable name, or a list of { name, tensor }. Variables whose gradient is null keep their values
     * @throws TypeError or RangeError that names the variable; NonFiniteGradientError under nonFinite "throw", on a
     *   device at a later step
     */
    applyGradients(gradients: Gradients): void {
      const given = checkedGradients(tf, gradients);
      if (given.length === 0) return;
      this.#watch.throwIfBroken();
      this.#releaseDisposed();
      const steps = given.map(({ variable, gradient }) => {
        const slot = this.#slots.get(variable) ?? this.#slotFor(variable);
        return { slot, gradient };
      });
      const fresh = steps.flatMap(({ slot }) => (this.#slots.has(slot.variable) ? [] : [slot]));
      const found = this.#loaded.match(fresh);
      const stepper = this.#currentStepper();
      try {
        if (fresh.length > 0) {
          stepper.add(fresh, { states: found, stepCount: this.iterations_ ?? 0 });
        }
        this.lastStep = stepper.step(steps, this.#learningRate);
      } catch (error) {
        stepper.remove(fresh);
        throw error;
      }
      for (const slot of fresh) this.#slots.set(slot.variable, slot);
      this.#loaded.place(found);
      if (this.lastStep?.skipped !== true) this.iterations_ = (this.iterations_ ?? 0) + 1;
      this.#watch.read();
      this.#loaded.tellOnce(fresh, found);
    }

    /**
     * The state as tensors: see {@link toTensors}. They belong to the optimizer, which disposes of them at the next
     * call and in `dispose`, because TensorFlow.js does not when it saves a model.
     */
    async getWeights(): Promise<NamedTensor[]> {
      this.#releaseDisposed();
      this.#disposeExported();
      // All of this moment: steps may go on while a device is read.
      const [step, loaded] = [this.iterations_ ?? 0, this.#loaded.snapshot()];
      const state = await this.#stepper?.state();
      const weights = toTensors(tf, { step, layers: loaded.with(state?.layers ?? []) });
      this.#exported.push(...weights);
      return weights;
    }

    /**
     * Loads a copy of what {@link getWeights} returned. A variable takes its state at its first step: the state with
     * its shape and its name, ignoring the suffix that TensorFlow.js adds to names in use. If no name matches and all
     * shapes agree, it goes by position. Then the console lists state without a variable.
     *
     * @throws TypeError or RangeError that names the tensor if state can't be right; then nothing was loaded
     */
    async setWeights(weights: NamedTensor[]): Promise<void> {
      const { step, layers } = await fromTensors(weights);
      this.#disposeStepper();
      this.iterations_ = step;
      this.#loaded = new LoadedState(layers);
    }

    /** Options as JSON. Set functions (schedules, options by variable) again after loading. */
    getConfig(): Config {
      return toConfig({
        ...this.#options,
        core: { ...this.#options.core, lr: this.#learningRate },
        variableOptions: this.#variableOptions,
      });
    }

    /** Frees the state. */
    override dispose(): void {
      this.#disposeStepper();
      this.#disposeExported();
      this.#loaded = new LoadedState();
    }

    #disposeStepper(): void {
      this.#stepper?.dispose();
      this.#stepper = null;
      this.#slots.clear();
      this.#watch.reset();
    }

    #disposeExported(): void {
      for (const { tensor } of this.#exported) tensor.dispose();
      this.#exported = [];
    }

    /** Frees the state of variables that were disposed of since. */
    #releaseDisposed(): void {
      const gone = [...this.#slots.values()].filter(({ variable }) => variable.isDisposed);
      if (gone.length === 0) return;
      for (const { variable } of gone) this.#slots.delete(variable);
      this.#loaded.release(gone);
      this.#stepper?.remove(gone);
    }

    /** The backend decides. If it changed between two steps, the state moves along. */
    #currentStepper(): Stepper {
      const isHost = liveMemory(tf.engine()) !== null;
      const Wanted = isHost ? HostStepper : DeviceStepper;
      const current = this.#stepper;
      if (current instanceof Wanted && current.runsOn(tf.engine())) return current;
      const options = { ...this.#options.core, lr: this.#learningRate };
      const next = isHost
        ? new HostStepper(tf, { Core: CORE[className], options })
        : new DeviceStepper(tf, this.#watch);
      const slots = [...this.#slots.values()];
      if (current !== null && slots.length > 0) {
        const { step, layers } = current.stateSync();
        const states = new Map(layers.map((layer, index) => [slots[index]!, layer]));
        next.add(slots, { states, stepCount: step });
      }
      current?.dispose();
      this.#stepper = next;
      return next;
    }

    #slotFor(variable: Variable): Slot {
      const { name, size } = variable;
      const shape = [...variable.shape];
      const options = optionsOf(
        { name, shape },
        { ...this.#options, variableOptions: this.#variableOptions },
      );
      const all = { ...this.#options.core, lr: this.#learningRate };
      return {
        variable,
        name,
        shape,
        size,
        options,
        values: hyperparametersOf(className, all, options),
      };
    }
  };
  // A minifier would give it another.
  Object.defineProperty(cls, "name", { value: className });
  return cls;
}
