/** LARS as optimizers of TensorFlow.js. They bring its tensors to the core, and have no rule of their own. */
import { shown } from "../../check.js";
import * as core from "../../optimizer/lars.js";
import type { LARSOptions } from "../../options/options.js";
import type { Schedule } from "../../options/schedules.js";
import type { LayerState } from "../../state/saved-state.js";
import type { StepReport } from "../../step/report.js";
import { DeviceStepper } from "./device/stepper.js";
import { liveMemory } from "./host/live-values.js";
import { HostStepper } from "./host/stepper.js";
import {
  checkVariableOptions,
  fromConfig,
  hyperparametersOf,
  optionsOf,
  splitOptions,
  toConfig,
} from "./options.js";
import type {
  Config,
  CoreClass,
  SplitOptions,
  TensorFlowLARSOptions,
  VariableOptions,
} from "./options.js";
import type { Slot, Stepper } from "./stepper.js";
import type {
  BaseOptimizer,
  NamedTensor,
  Tensor,
  TensorFlow,
  TensorFlowNamespace,
  Variable,
} from "./tensorflow.js";
import { fromTensors, layerStateOf, toTensors } from "./weights.js";
import type { SavedLayer } from "./weights.js";

/** What the optimizers have beside the members of `tf.Optimizer`. */
export interface LARSMembers {
  /** γ of the variables that have no rate of their own: a number ≥ 0, or a schedule. Can be set at any time. */
  learningRate: number | Schedule;
  /** Options by variable. Can be set until the first step. */
  variableOptions: VariableOptions;
  /** What the last step did; null before the first, and where the numbers stay on the device. */
  readonly lastStep: StepReport | null;
  /** Bytes of optimizer state held now. */
  readonly stateBytes: number;
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
   * @throws TypeError or RangeError that names the option, the value and what is allowed
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

type Gradients = Readonly<Record<string, Tensor | null | undefined>> | readonly NamedTensor[];

/** Once for each TensorFlow.js: a second set of classes would take the registered names from the first. */
const created = new WeakMap<object, LARSClasses<unknown>>();

/**
 * Makes the LARS optimizers for a TensorFlow.js, and registers them for `tf.loadLayersModel`.
 *
 * @param tf the namespace: `import * as tf from "@tensorflow/tfjs"` (4.x)
 * @throws TypeError when it is something else
 */
export function createLars<TF extends TensorFlowNamespace>(tf: TF): LARSClasses<TF> {
  const known = created.get(checkedNamespace(tf));
  if (known !== undefined) return known;
  const called = tf as unknown as TensorFlow;
  const classes = {
    LARS: createClass(called, core.LARS, "LARS"),
    LARS8bit: createClass(called, core.LARS8bit, "LARS8bit"),
    LARS32bit: createClass(called, core.LARS32bit, "LARS32bit"),
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
    `createLars: got ${shown(tf)}; allowed is the namespace of TensorFlow.js, import * as tf from "@tensorflow/tfjs"`,
  );
}

function createClass(tf: TensorFlow, Core: CoreClass, className: string): object {
  // The structural type says what the subclass uses; what it leaves alone is there all the same.
  const Base = tf.Optimizer as unknown as new () => BaseOptimizer;

  return class extends Base implements LARSMembers {
    static readonly className = className;

    static fromConfig<T>(cls: new (options: TensorFlowLARSOptions) => T, config: unknown): T {
      return new cls(fromConfig(config));
    }

    lastStep: StepReport | null = null;
    readonly #options: SplitOptions;
    #learningRate: LARSOptions["lr"];
    #variableOptions: VariableOptions;
    readonly #slots = new Map<string, Slot>();
    #stepper: Stepper | null = null;
    /** Loaded state, for variables that have made no step yet. */
    #loaded: readonly SavedLayer[] = [];
    /** Tensors that getWeights made: saving a model does not dispose of them. */
    #exported: NamedTensor[] = [];

    constructor(options: TensorFlowLARSOptions) {
      super();
      this.#options = splitOptions(options);
      hyperparametersOf(Core, this.#options.core);
      this.#learningRate = this.#options.core.lr;
      this.#variableOptions = this.#options.variableOptions;
      this.iterations_ = 0;
    }

    get learningRate(): LARSOptions["lr"] {
      return this.#learningRate;
    }

    set learningRate(lr: LARSOptions["lr"]) {
      hyperparametersOf(Core, { ...this.#options.core, lr });
      this.#learningRate = lr;
    }

    get variableOptions(): VariableOptions {
      return this.#variableOptions;
    }

    set variableOptions(options: VariableOptions) {
      if (this.#slots.size > 0) {
        throw new Error("variableOptions: can be set until the first step, not after it");
      }
      this.#variableOptions = checkVariableOptions(options);
    }

    get stateBytes(): number {
      return this.#stepper?.stateBytes ?? 0;
    }

    getClassName(): string {
      return className;
    }

    /**
     * Makes one step: whole, or not at all.
     *
     * @param gradients by variable name, or a list of { name, tensor }. Variables whose gradient is null are left alone
     * @throws TypeError or RangeError that names the variable; NonFiniteGradientError under nonFinite "throw"
     */
    applyGradients(gradients: Gradients): void {
      const given = checkedGradients(tf, gradients);
      if (given.length === 0) return;
      const stepper = this.#currentStepper();
      const before = this.#slots.size;
      const steps = given.map(({ variable, gradient }) => ({
        variable,
        gradient,
        slot: this.#slotOf(variable, stepper),
      }));
      this.#placeLoaded(stepper, [...this.#slots.values()].slice(before));
      this.lastStep = stepper.step(steps, this.#learningRate);
      if (this.lastStep?.skipped !== true) this.iterations_ = (this.iterations_ ?? 0) + 1;
    }

    /**
     * The state as tensors: see {@link toTensors}. They belong to the optimizer, which disposes of them at the
     * next call and in `dispose`: TensorFlow.js does not when it saves a model.
     */
    async getWeights(): Promise<NamedTensor[]> {
      const state = await this.#stepper?.state();
      // Variables that have made no step since loading keep what was loaded, at its position.
      const made = state?.layers ?? [];
      const layers = [...made, ...this.#loaded.slice(made.length)];
      this.#disposeExported();
      this.#exported = toTensors(tf, this.iterations_ ?? 0, layers);
      return [...this.#exported];
    }

    /**
     * Loads what {@link getWeights} returned, copying. Variables take their state when they make their first
     * step: that of their name, else that of their position, since models loaded again may have new names.
     */
    async setWeights(weights: NamedTensor[]): Promise<void> {
      const { iterations, layers } = await fromTensors(weights);
      this.#disposeStepper();
      this.iterations_ = iterations;
      this.#loaded = layers;
    }

    /** As JSON. Functions (schedules, options by variable) have to be set again after loading. */
    getConfig(): Config {
      return toConfig({
        ...this.#options,
        core: { ...this.#options.core, lr: this.#learningRate },
        variableOptions: this.#variableOptions,
      });
    }

    /** Gives the state back. */
    override dispose(): void {
      this.#disposeStepper();
      this.#disposeExported();
      this.#loaded = [];
    }

    #disposeStepper(): void {
      this.#stepper?.dispose();
      this.#stepper = null;
      this.#slots.clear();
    }

    #disposeExported(): void {
      for (const { tensor } of this.#exported) tensor.dispose();
      this.#exported = [];
    }

    /** Where the tensors are decides. When the backend was changed between two steps, the state moves along. */
    #currentStepper(): Stepper {
      const Wanted = liveMemory(tf.engine()) === null ? DeviceStepper : HostStepper;
      const current = this.#stepper;
      if (current instanceof Wanted && current.runsOn(tf.engine())) return current;
      const next = new Wanted(tf, Core, { ...this.#options.core, lr: this.#learningRate });
      for (const slot of this.#slots.values()) next.add(slot);
      if (current !== null) {
        const { step, layers } = current.stateSync();
        const slots = [...this.#slots.values()];
        next.load(step, new Map(layers.map((layer, index) => [slots[index]!, layer])));
        current.dispose();
      }
      this.#stepper = next;
      return next;
    }

    #slotOf(variable: Variable, stepper: Stepper): Slot {
      const { name, shape, size } = variable;
      const known = this.#slots.get(name);
      if (known !== undefined) {
        if (known.shape.join() === shape.join()) return known;
        throw new RangeError(
          `variable ${shown(name)}: has shape [${shape.join(", ")}] now; allowed is [${known.shape.join(", ")}], as at its first step`,
        );
      }
      const options = optionsOf(
        { name, shape },
        { ...this.#options, variableOptions: this.#variableOptions },
      );
      hyperparametersOf(Core, { ...this.#options.core, lr: this.#learningRate }, options);
      const slot = { name, shape: [...shape], size, options };
      stepper.add(slot);
      this.#slots.set(name, slot);
      return slot;
    }

    /** Gives loaded state to variables that were just taken in. */
    #placeLoaded(stepper: Stepper, fresh: readonly Slot[]): void {
      if (fresh.length === 0 || this.#loaded.length === 0) return;
      const slots = [...this.#slots.values()];
      const byName = new Map(this.#loaded.map((saved) => [saved.name, saved]));
      const allNamed = fresh.every(({ name }) => byName.has(name));
      const placed = new Map<Slot, LayerState>();
      for (const slot of fresh) {
        const saved = allNamed ? byName.get(slot.name) : this.#loaded[slots.indexOf(slot)];
        if (saved !== undefined) placed.set(slot, layerStateOf(saved, slot));
      }
      stepper.load(this.iterations_ ?? 0, placed);
    }
  };
}

interface Given {
  readonly variable: Variable;
  readonly gradient: Tensor;
}

/** The variables that have a gradient, in the order given. */
function checkedGradients(tf: TensorFlow, gradients: Gradients): Given[] {
  const entries: [string, Tensor | null | undefined][] = Array.isArray(gradients)
    ? (gradients as readonly NamedTensor[]).map(({ name, tensor }) => [name, tensor])
    : Object.entries(gradients as Readonly<Record<string, Tensor | null | undefined>>);
  const { registeredVariables } = tf.engine();
  const seen = new Set<string>();
  return entries.flatMap(([name, gradient]) => {
    // An empty variable has nothing to learn.
    if (gradient === null || gradient === undefined || gradient.size === 0) return [];
    const variable = registeredVariables[name];
    if (variable === undefined) {
      throw new TypeError(
        `applyGradients: got a gradient for ${shown(name)}; allowed are the names of tf.variable()s that exist`,
      );
    }
    if (seen.has(name)) {
      throw new TypeError(`applyGradients: ${shown(name)} is given twice; allowed is once`);
    }
    seen.add(name);
    checkTensors(variable, gradient);
    return [{ variable, gradient }];
  });
}

function checkTensors({ name, dtype, shape }: Variable, gradient: Tensor): void {
  for (const [what, actual] of [
    ["", dtype],
    ["gradient ", gradient.dtype],
  ] as const) {
    if (actual !== "float32") {
      throw new TypeError(`variable ${shown(name)}: ${what}dtype is ${actual}; allowed is float32`);
    }
  }
  if (gradient.shape.join() !== shape.join()) {
    throw new RangeError(
      `variable ${shown(name)}: gradient has shape [${gradient.shape.join(", ")}]; allowed is [${shape.join(", ")}], as the variable has`,
    );
  }
}
