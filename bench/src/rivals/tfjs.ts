/** TensorFlow.js: `tf.train.momentum`, its nearest optimizer, which takes no norms. */
import "@tensorflow/tfjs-backend-cpu";
import { setThreadsCount } from "@tensorflow/tfjs-backend-wasm";
import * as tf from "@tensorflow/tfjs-core";
import type { Problem } from "../problem.js";
import type { Rival } from "../rival.js";
import { LEARNING_RATE, MOMENTUM } from "../rules.js";

export type TfjsRival = Rival & { dispose(): void };

/** Backends must be set before tensors are made; both may live in one program. */
export async function tfjsMomentum(problem: Problem, backend: "cpu" | "wasm"): Promise<TfjsRival> {
  // In Node, the wasm backend has one thread whatever is set; said for other platforms.
  setThreadsCount(1);
  if (!(await tf.setBackend(backend))) throw new Error(`TensorFlow.js has no backend ${backend}`);
  await tf.ready();
  const name = (index: number): string => `${backend}/${problem.name}/${index}`;
  const initial = problem.weights.map((values) => tf.tensor1d(values));
  const variables = initial.map((values, i) => tf.variable(values, true, name(i)));
  const gradients = problem.gradients.map((values, i) => ({
    name: name(i),
    tensor: tf.tensor1d(values),
  }));
  let optimizer = tf.train.momentum(LEARNING_RATE, MOMENTUM);
  const isSelected = (): boolean => tf.getBackend() === backend;
  const apply = (): void => {
    optimizer.applyGradients(gradients);
  };
  return {
    name: `TensorFlow.js momentum, ${backend}`,
    rule: "momentum",
    bits: 32,
    threads: 1,
    reset: async (fresh) => {
      await tf.setBackend(backend);
      variables.forEach((variable, i) => {
        variable.assign(initial[i]!);
      });
      if (!fresh) return;
      optimizer.dispose();
      optimizer = tf.train.momentum(LEARNING_RATE, MOMENTUM);
    },
    // The other backend may have had its turn.
    step: () => {
      if (!isSelected()) return tf.setBackend(backend).then(apply);
      apply();
      return undefined;
    },
    weights: () => variables.map((variable) => variable.dataSync()),
    dispose: () => {
      optimizer.dispose();
      tf.dispose([...initial, ...variables, ...gradients.map(({ tensor }) => tensor)]);
    },
  };
}
