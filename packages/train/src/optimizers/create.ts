/** Creates optimizers by name. */
import type { Parameter } from "layerwise";
import type { Checkpoint } from "layerwise/checkpoint";
import { optimizerFor } from "layerwise/jax";
import type { HostOptimizer } from "layerwise/jax";
import { AdamW } from "./adamw.js";
import { ruleOf } from "./names.js";
import type { OptimizerName } from "./names.js";
import { adamwOptions, larsOptions } from "./options.js";
import type { StepOptions } from "./options.js";
import type { StepOptimizer } from "./step-optimizer.js";

/** Everything needed to create an optimizer. */
export interface OptimizerOptions {
  readonly step: StepOptions;
  readonly lr: (step: number) => number;
  readonly maxGradNorm: number | null;
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
  const areMatrices = parameters.map(({ shape }) => shape.length > 1);
  return new LarsOptimizer(
    optimizerFor([...parameters], {
      ...larsOptions(name, options.step, options),
      optimBits: ruleOf(name) === "lars8bit" ? 8 : 32,
      trustRatioMask: areMatrices,
      weightDecayMask: areMatrices,
    }),
  );
}

/** layerwise's own: LARS, and SGD as LARS without a trust ratio. */
class LarsOptimizer implements StepOptimizer {
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
