/** layerwise's optimizers with their state split over processes. */
import { excludeFromAdaptation } from "layerwise";
import type { LARSOptions, Parameter, StepReport } from "layerwise";
import type { Checkpoint } from "layerwise/checkpoint";
import type { Members } from "../distributed/team.js";
import { isMatrix } from "./matrix.js";
import type { StepOptimizer } from "./step-optimizer.js";

interface ShardedParts {
  readonly members: Members;
  readonly optimBits: 8 | 32;
  readonly threads: number;
}

/** Steps add up the gradients of all processes, each its part, and have the same bits as without sharding. */
export class ShardedOptimizer implements StepOptimizer {
  readonly addsUpGradients = true;
  readonly #optimizer: Pick<
    InstanceType<Members["library"]["ShardedLARS"]>,
    "step" | "stateBytes" | "stateDict" | "loadStateDict" | "dispose"
  >;

  constructor(
    parameters: readonly Parameter[],
    options: LARSOptions,
    { members: { collective, library }, optimBits, threads }: ShardedParts,
  ) {
    const Optimizer = optimBits === 8 ? library.ShardedLARS8bit : library.ShardedLARS32bit;
    // The groups of an optimizer that is not sharded, so that checkpoints are the same.
    const groups = excludeFromAdaptation(parameters, (parameter) => !isMatrix(parameter));
    const distributed = { collective, gradients: "sum" as const, threads };
    this.#optimizer = new Optimizer(groups, options, distributed);
  }

  get stateBytes(): number {
    return this.#optimizer.stateBytes;
  }

  step(gradScale: number): StepReport {
    return this.#optimizer.step({ gradScale });
  }

  save(): Checkpoint {
    return this.#optimizer.stateDict();
  }

  restore({ step, layers }: Checkpoint): void {
    this.#optimizer.loadStateDict({ step, layers });
  }

  dispose(): void {
    this.#optimizer.dispose();
  }
}
