/** Creates optimizers by name. */
import type { Parameter } from "layerwise";
import type { Checkpoint } from "layerwise/checkpoint";
import { optimizerFor } from "layerwise/jax";
import type { HostOptimizer } from "layerwise/jax";
import type { Team } from "../distributed/team.js";
import { AdamW } from "./adamw.js";
import { isMatrix } from "./matrix.js";
import { ruleOf } from "./names.js";
import type { OptimizerName } from "./names.js";
import { adamwOptions, larsOptions } from "./options.js";
import type { StepOptions } from "./options.js";
import { ShardedOptimizer } from "./sharded.js";
import type { StepOptimizer } from "./step-optimizer.js";

/** What layerwise takes. */
const MOST_KERNEL_THREADS = 64;

/** Everything needed to create an optimizer. */
export interface OptimizerOptions {
  readonly step: StepOptions;
  readonly lr: (step: number) => number;
  readonly maxGradNorm: number | null;
  /** Processes that make the same steps. */
  readonly team: Team;
  /** Whether they split the state. */
  readonly shardState: boolean;
  /** The most that steps of one of several processes use; a process alone takes all cores. */
  readonly threads: number;
}

/**
 * Makes an optimizer over parameters that have gradients. Weight decay and trust ratio are for matrices, not
 * for biases.
 *
 * @throws TypeError or RangeError when layerwise refuses the options
 */
export function createOptimizer(
  name: OptimizerName,
  parameters: readonly Parameter[],
  options: OptimizerOptions,
): StepOptimizer {
  if (ruleOf(name) === "adamw") {
    return new AdamW(parameters, { ...options, ...adamwOptions(options.step) });
  }
  const { team, threads, shardState } = options;
  const optimBits = ruleOf(name) === "lars8bit" ? 8 : 32;
  const lars = larsOptions(name, options.step, options);
  if (shardState && team.members !== null) {
    return new ShardedOptimizer(parameters, lars, { members: team.members, optimBits, threads });
  }
  const areMatrices = parameters.map(isMatrix);
  const masks = { trustRatioMask: areMatrices, weightDecayMask: areMatrices };
  const kernelOptions = team.size === 1 ? {} : { threads: Math.min(threads, MOST_KERNEL_THREADS) };
  return new LarsOptimizer(
    optimizerFor([...parameters], { ...lars, optimBits, ...masks }, kernelOptions),
  );
}

/** layerwise's own: LARS, and SGD as LARS without a trust ratio. */
class LarsOptimizer implements StepOptimizer {
  readonly addsUpGradients = false;
  readonly #host: HostOptimizer;

  constructor(host: HostOptimizer) {
    this.#host = host;
  }

  get stateBytes(): number {
    return this.#host.optimizer.stateBytes;
  }

  step(gradScale: number): ReturnType<StepOptimizer["step"]> {
    return this.#host.step(undefined, { gradScale });
  }

  save(): Checkpoint {
    return this.#host.optimizer.stateDict();
  }

  restore({ step, layers }: Checkpoint): void {
    this.#host.optimizer.loadStateDict({ step, layers });
  }

  dispose(): void {
    this.#host.dispose();
  }
}
