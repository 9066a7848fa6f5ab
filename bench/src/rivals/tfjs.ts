/** TensorFlow.js: its `tf.train.momentum`, which takes no norms, and the library's optimizers for it. */
import * as tf from "@tensorflow/tfjs-core";
import { createLars } from "layerwise/tfjs";
import type { Problem } from "../problem.js";
import type { Rival } from "../rival.js";
import { LEARNING_RATE, MOMENTUM, trustRatioOption, WEIGHT_DECAY } from "../rules.js";

export interface TfjsRival extends Rival {
  /** Waits for the device: steps are only queued there. */
  settle(): Promise<void>;
  dispose(): void;
}

/** Who steps, as tables name it. */
interface Contestant extends Pick<Rival, "name" | "rule" | "bits" | "threads"> {
  readonly createOptimizer: () => tf.Optimizer;
}

/** Selects the backend of all tensors that are made from here on. */
export async function useBackend(backend: string): Promise<void> {
  if (!(await tf.setBackend(backend))) throw new Error(`TensorFlow.js has no backend ${backend}`);
  await tf.ready();
}

/** Rivals on the selected backend. They share the gradients, and have weights of their own. */
export class TfjsRivals {
  readonly #problem: Problem;
  readonly #backend = tf.getBackend();
  readonly #initial: tf.Tensor[];
  readonly #gradients: tf.Tensor[];
  #created = 0;

  constructor(problem: Problem) {
    this.#problem = problem;
    const tensors = (of: readonly Float32Array[]): tf.Tensor[] =>
      of.map((values, layer) => tf.tensor(values, [...problem.layers[layer]!.shape]));
    this.#initial = tensors(problem.weights);
    this.#gradients = tensors(problem.gradients);
  }

  /** @param threads of the backend, for the tables */
  momentum(threads = 1): TfjsRival {
    return this.#rival({
      ...{
        name: `TensorFlow.js momentum, ${this.#backend}`,
        rule: "momentum",
        bits: 32,
        threads,
      },
      createOptimizer: () => tf.train.momentum(LEARNING_RATE, MOMENTUM),
    });
  }

  /** @param threads that the kernels will use, for the tables */
  lars(bits: 8 | 32, threads: number): TfjsRival {
    const rule = "clip-update";
    const { LARS } = createLars(tf);
    return this.#rival({
      ...{ name: `layerwise/tfjs, ${this.#backend}`, rule, bits, threads },
      createOptimizer: () =>
        new LARS({
          ...{ lr: LEARNING_RATE, momentum: MOMENTUM, weightDecay: WEIGHT_DECAY },
          ...{ trustRatio: trustRatioOption(rule), optimBits: bits },
        }),
    });
  }

  #rival({ createOptimizer, ...who }: Contestant): TfjsRival {
    const prefix = `${this.#backend}/${this.#problem.name}/${this.#created++}`;
    const variables = this.#initial.map((values, i) => tf.variable(values, true, `${prefix}/${i}`));
    const gradients = variables.map(({ name }, i) => ({ name, tensor: this.#gradients[i]! }));
    let optimizer = createOptimizer();
    return {
      ...who,
      reset: (fresh) => {
        variables.forEach((variable, i) => {
          variable.assign(this.#initial[i]!);
        });
        if (!fresh) return;
        optimizer.dispose();
        optimizer = createOptimizer();
      },
      step: () => {
        optimizer.applyGradients(gradients);
      },
      weights: () => Promise.all(variables.map((variable) => variable.data())),
      settle: async () => {
        const [last] = variables.slice(-1);
        const element = tf.tidy(() => tf.slice(tf.reshape(last!, [-1]), 0, 1));
        await element.data();
        element.dispose();
      },
      dispose: () => {
        optimizer.dispose();
        tf.dispose(variables);
      },
    };
  }

  dispose(): void {
    tf.dispose([...this.#initial, ...this.#gradients]);
  }
}
