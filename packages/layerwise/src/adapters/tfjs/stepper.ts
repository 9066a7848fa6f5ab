/** The interface of both ways to run a step: the core's kernels on the host, tensor operations on a device. */
import type { Hyperparameters, LARSOptions } from "../../options/options.js";
import type { LayerState, StateDict } from "../../state/saved-state.js";
import type { StepReport } from "../../step/report.js";
import type { Engine, Tensor, Variable } from "./tensorflow.js";

/** A variable that is stepped on. Another variable of the same name, after it, has another slot. */
export interface Slot {
  readonly variable: Variable;
  readonly name: string;
  readonly shape: readonly number[];
  readonly size: number;
  /** The options in which it differs from the optimizer's. */
  readonly options: Partial<LARSOptions>;
  /** All of its options; of the rate, `options` and the optimizer say what it is. */
  readonly values: Hyperparameters;
}

/** A variable's part in one step. */
export interface VariableStep {
  readonly slot: Slot;
  readonly gradient: Tensor;
}

/** What variables begin with. */
export interface InitialState {
  /** The state of some of them; that of the others is empty. */
  readonly states: ReadonlyMap<Slot, LayerState>;
  /** Steps that the optimizer has made. */
  readonly stepCount: number;
}

export interface Stepper {
  /** Whether steps can go on here now that the engine's backend may be another. */
  runsOn(engine: Engine): boolean;

  /** Adds variables. After an error, {@link remove} removes those that were added. */
  add(slots: readonly Slot[], initial: InitialState): void;
  /** Frees the state of variables; ignores unknown ones. */
  remove(slots: readonly Slot[]): void;

  /**
   * Makes one step over variables that were added.
   *
   * @param lr γ of the variables that have none of their own
   * @returns the report, or null where the numbers stay on the device
   * @throws NonFiniteGradientError under nonFinite "throw", where the numbers do not stay on a device
   */
  step(steps: readonly VariableStep[], lr: LARSOptions["lr"]): StepReport | null;

  /** A copy of the state of this moment, layers in the order in which they were added. */
  state(): Promise<StateDict>;
  /** The same at once, waiting for the device. */
  stateSync(): StateDict;

  /** Bytes of optimizer state held. */
  readonly stateBytes: number;
  dispose(): void;
}
