/** What both ways to run a step have in common: the core's kernels on the host, tensor operations on a device. */
import type { LARSOptions } from "../../options/options.js";
import type { LayerState, StateDict } from "../../state/saved-state.js";
import type { StepReport } from "../../step/report.js";
import type { Engine, Tensor, Variable } from "./tensorflow.js";

/** A variable that has been stepped on. */
export interface Slot {
  readonly name: string;
  readonly shape: readonly number[];
  readonly size: number;
  /** The options in which it differs from the optimizer's. */
  readonly options: Partial<LARSOptions>;
}

/** A variable's part in one step. */
export interface VariableStep {
  readonly slot: Slot;
  readonly variable: Variable;
  readonly gradient: Tensor;
}

export interface Stepper {
  /** Whether steps can go on here now that the engine's backend may be another. */
  runsOn(engine: Engine): boolean;

  /** Takes a variable in; its state is empty. */
  add(slot: Slot): void;

  /**
   * Makes one step over variables that were added.
   *
   * @param lr γ of the variables that have none of their own
   * @returns the report, or null where the numbers stay on the device
   * @throws NonFiniteGradientError under nonFinite "throw": on a device at a later step
   */
  step(steps: readonly VariableStep[], lr: LARSOptions["lr"]): StepReport | null;

  /** A copy of the state, layers in the order in which they were added. */
  state(): Promise<StateDict>;
  /** The same at once, waiting for the device. */
  stateSync(): StateDict;
  /** Loads the number of steps made, and the state of some variables. */
  load(stepCount: number, layers: ReadonlyMap<Slot, LayerState>): void;

  /** Bytes of optimizer state held. */
  readonly stateBytes: number;
  dispose(): void;
}
