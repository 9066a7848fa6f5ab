/** The library for jax-js: transformations under `jit`, and the core's kernels by `optimizerFor`. */
import { blockUntilReady, jit, numpy as np, tree } from "@jax-js/jax";
import type { JsTree } from "@jax-js/jax";
import { applyUpdates, lars, lars8bit, optimizerFor } from "layerwise/jax";
import type { LarsState } from "layerwise/jax";
import type { Problem } from "../problem.js";
import type { Rival } from "../rival.js";
import { LEARNING_RATE, MAX_UNORM, MOMENTUM, WEIGHT_DECAY } from "../rules.js";

const OPTIONS = {
  lr: LEARNING_RATE,
  momentum: MOMENTUM,
  weightDecay: WEIGHT_DECAY,
  maxUnorm: MAX_UNORM,
};

type Arrays = np.Array[];

/** Copies of values as arrays of the default device. */
function arraysOf(of: readonly Float32Array[]): Arrays {
  return of.map((values) => np.array(values as Float32Array<ArrayBuffer>));
}

/** `lars` or `lars8bit` under `jit`, on the default device. */
export function transformation(problem: Problem, bits: 8 | 32): Rival {
  const optimizer = bits === 8 ? lars8bit(OPTIONS) : lars(OPTIONS);
  const compiled = jit(
    (gradients: JsTree<np.Array>, state: LarsState, params: JsTree<np.Array>) => {
      const [updates, next] = optimizer.update(gradients, state, tree.ref(params));
      return [applyUpdates(params, updates), next];
    },
  );
  const step = compiled as unknown as (
    gradients: Arrays,
    state: LarsState,
    params: Arrays,
  ) => [Arrays, LarsState];
  const gradients = arraysOf(problem.gradients);
  let params = arraysOf(problem.weights);
  let state = optimizer.init(tree.ref(params));
  return {
    name: bits === 8 ? "`lars8bit`, jit" : "`lars`, jit",
    rule: "clip-update",
    bits,
    threads: 1,
    reset: (fresh) => {
      tree.dispose(params);
      params = arraysOf(problem.weights);
      if (!fresh) return;
      tree.dispose(state);
      state = optimizer.init(tree.ref(params));
    },
    step: async () => {
      [params, state] = step(tree.ref(gradients), state, params);
      await blockUntilReady([params, state]);
    },
    weights: () => readAll(params),
  };
}

/** How `optimizerFor` gets its gradients, and what becomes of the weights. */
export interface HostChoice {
  /** Where gradients come from. From jax-js they are read out, and the weights go back. */
  readonly gradients: "jax-js" | "Float32Arrays" | "own memory";
  readonly bits: 8 | 32;
  readonly threads: number;
}

const GRADIENTS: Readonly<Record<HostChoice["gradients"], string>> = {
  "jax-js": "gradients read and weights given back",
  Float32Arrays: "gradients in Float32Arrays",
  "own memory": "gradients in its memory",
};

export function hosted(problem: Problem, { gradients, bits, threads }: HostChoice): Rival {
  const optimizer = optimizerFor(
    arraysOf(problem.weights),
    { ...OPTIONS, optimBits: bits },
    { threads },
  );
  const fresh = optimizer.optimizer.stateDict();
  const inJax = gradients === "jax-js" ? arraysOf(problem.gradients) : null;
  const outside = gradients === "Float32Arrays" ? [...problem.gradients] : undefined;
  optimizer.parameters.forEach(({ grad }, index) => {
    grad!.set(problem.gradients[index]!);
  });
  return {
    name: `\`optimizerFor\`, ${GRADIENTS[gradients]}`,
    rule: "clip-update",
    bits,
    threads,
    reset: (all) => {
      if (all) optimizer.optimizer.loadStateDict(fresh);
      optimizer.parameters.forEach(({ data }, index) => {
        data.set(problem.weights[index]!);
      });
    },
    step: () => {
      if (inJax === null) {
        optimizer.step(outside);
      } else {
        optimizer.step(tree.ref(inJax));
        tree.dispose(optimizer.arrays());
      }
    },
    weights: () => optimizer.parameters.map(({ data }) => data),
  };
}

function readAll(arrays: Arrays): Promise<Float32Array[]> {
  return Promise.all(arrays.map(async (values) => (await values.ref.data()) as Float32Array));
}
