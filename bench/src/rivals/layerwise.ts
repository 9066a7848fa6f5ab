/** The library itself: `wasm` in its own memory and on arrays from outside, and `reference`. */
import { setTimeout as sleep } from "node:timers/promises";
import { LARS, Parameter } from "layerwise";
import type { LARSOptions } from "layerwise";
import type { Problem } from "../problem.js";
import type { Rival } from "../rival.js";
import {
  LEARNING_RATE,
  MOMENTUM,
  RULES,
  trustRatioOption,
  WEIGHT_DECAY,
  type RuleName,
} from "../rules.js";
import { WORKERS_START_MS } from "../timing.js";

export type Where = "own memory" | "outside arrays" | "reference";

/** The problem's layers as parameters: shared by all optimizers that are timed on them. */
export function allocatedParameters(problem: Problem): Parameter[] {
  return problem.layers.map(({ name, shape }, index) => {
    const parameter = Parameter.allocate(shape, { name });
    parameter.data.set(problem.weights[index]!);
    parameter.grad.set(problem.gradients[index]!);
    return parameter;
  });
}

/** The same in ordinary arrays. */
export function outsideParameters(problem: Problem): Parameter[] {
  return problem.layers.map(({ name, shape }, index) => {
    const parameter = new Parameter(problem.weights[index]!.slice(), { name, shape });
    parameter.grad = problem.gradients[index]!;
    return parameter;
  });
}

export interface LarsChoice {
  readonly where: Where;
  readonly bits: 8 | 32;
  readonly threads: number;
}

/** An optimizer whose rule changes with who is timed: the momentum of one does for all rules. */
export class LarsRivals {
  readonly #problem: Problem;
  readonly #parameters: readonly Parameter[];
  readonly #choice: LarsChoice;
  readonly #optimizer: LARS;
  readonly #fresh: ReturnType<LARS["stateDict"]>;
  #rule: RuleName = "clip-update";

  constructor(problem: Problem, parameters: readonly Parameter[], choice: LarsChoice) {
    this.#problem = problem;
    this.#parameters = parameters;
    this.#choice = choice;
    this.#optimizer = createLars(parameters, choice);
    this.#fresh = this.#optimizer.stateDict();
  }

  /** Waits for the workers. @throws Error when they don't come */
  async ready(): Promise<void> {
    await sleep(WORKERS_START_MS);
    const { threads } = this.#optimizer;
    if (threads !== this.#choice.threads) {
      throw new Error(`got ${threads} threads; wanted ${this.#choice.threads}`);
    }
  }

  rival(rule: RuleName): Rival {
    const { where, bits, threads } = this.#choice;
    return {
      name: where === "reference" ? "layerwise `reference`" : `layerwise, ${where}`,
      rule,
      bits,
      threads,
      reset: (fresh) => {
        if (fresh) this.#optimizer.loadStateDict(this.#fresh);
        this.#parameters.forEach(({ data }, i) => {
          data.set(this.#problem.weights[i]!);
        });
      },
      step: () => {
        this.#use(rule);
        this.#optimizer.step();
      },
      weights: () => this.#parameters.map(({ data }) => data),
    };
  }

  /** One for each rule. */
  rivals(): Rival[] {
    return RULES.map((rule) => this.rival(rule));
  }

  get stateBytes(): number {
    return this.#optimizer.stateBytes;
  }

  dispose(): void {
    this.#optimizer.dispose();
  }

  #use(rule: RuleName): void {
    if (rule === this.#rule) return;
    this.#optimizer.paramGroups[0]!.trustRatio = trustRatioOption(rule);
    this.#rule = rule;
  }
}

export function createLars(parameters: readonly Parameter[], choice: LarsChoice): LARS {
  const options: LARSOptions = {
    lr: LEARNING_RATE,
    momentum: MOMENTUM,
    weightDecay: WEIGHT_DECAY,
    trustRatio: trustRatioOption("clip-update"),
    optimBits: choice.bits,
  };
  return choice.where === "reference"
    ? new LARS(parameters, options, { kernel: "reference" })
    : new LARS(parameters, options, { kernel: "wasm", threads: choice.threads });
}
