/** jax-js: the same rule in its own operations, under `jit`. */
import { blockUntilReady, defaultDevice, init, jit, numpy as np, tree } from "@jax-js/jax";
import type { Array as JaxArray } from "@jax-js/jax";
import type { Problem } from "../problem.js";
import { float32SumsTolerance } from "../rival.js";
import type { Rival } from "../rival.js";
import { LEARNING_RATE, MAX_UNORM, MOMENTUM, WEIGHT_DECAY } from "../rules.js";

export type JaxRival = Rival & { dispose(): void };

/** Weights and momentum of all layers. */
type State = [JaxArray[], JaxArray[]];

/** @param device of everything that jax-js makes from now on */
export async function jaxLars(
  problem: Problem,
  device: "cpu" | "wasm" | "webgpu" = "wasm",
): Promise<JaxRival> {
  await init(device);
  defaultDevice(device);
  const stepAll = jit((weights: JaxArray[], gradients: JaxArray[], momenta: JaxArray[]): State => {
    const next: State = [[], []];
    weights.forEach((layer, i) => {
      const [w, m] = stepLayer(layer, gradients[i]!, momenta[i]!);
      next[0].push(w);
      next[1].push(m);
    });
    return next;
  });
  const arrays = (of: readonly Float32Array[]): JaxArray[] =>
    of.map((values) => np.array(values as Float32Array<ArrayBuffer>));
  const zeros = (): JaxArray[] => problem.weights.map(({ length }) => np.zeros([length]));
  const gradients = arrays(problem.gradients);
  let [weights, momenta]: State = [arrays(problem.weights), zeros()];
  return {
    name: "jax-js, jit",
    rule: "clip-update",
    bits: 32,
    threads: 1,
    tolerance: float32SumsTolerance(problem),
    reset: (fresh) => {
      tree.dispose(weights);
      weights = arrays(problem.weights);
      if (!fresh) return;
      tree.dispose(momenta);
      momenta = zeros();
    },
    step: async () => {
      [weights, momenta] = stepAll(weights, tree.ref(gradients), momenta);
      await blockUntilReady([weights, momenta]);
    },
    weights: () =>
      Promise.all(weights.map(async (values) => (await values.ref.data()) as Float32Array)),
    dispose: () => {
      tree.dispose([weights, momenta, gradients]);
    },
  };
}

/** Every function of jax-js uses its arguments up; `.ref` keeps one. */
function stepLayer(w: JaxArray, g: JaxArray, m: JaxArray): [JaxArray, JaxArray] {
  const momentum = m.mul(MOMENTUM).add(g.add(w.ref.mul(WEIGHT_DECAY)));
  const weightNorm = np.sqrt(np.sum(w.ref.mul(w.ref)));
  const updateNorm = np.sqrt(np.sum(momentum.ref.mul(momentum.ref)));
  const ratio = np.minimum(weightNorm.mul(MAX_UNORM).div(updateNorm), 1);
  return [w.sub(momentum.ref.mul(ratio.mul(LEARNING_RATE))), momentum];
}
