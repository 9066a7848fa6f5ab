/** TensorFlow.js on the backends that run in Node. */
import "@tensorflow/tfjs-backend-cpu";
import { setThreadsCount } from "@tensorflow/tfjs-backend-wasm";
import * as tf from "@tensorflow/tfjs-core";
import type { Problem } from "../problem.js";
import type { Rival } from "../rival.js";
import { TfjsRivals, useBackend } from "./tfjs.js";

export type NodeBackend = "cpu" | "wasm";

// In Node, the wasm backend has one thread whatever is set; said for other platforms.
setThreadsCount(1);

/** `tf.train.momentum` beside rivals on the other backend: both may live in one program. */
export async function tfjsMomentum(
  problem: Problem,
  backend: NodeBackend,
): Promise<Rival & { dispose(): void }> {
  await useBackend(backend);
  const rivals = new TfjsRivals(problem);
  const rival = rivals.momentum();
  return {
    ...rival,
    reset: async (fresh) => {
      await tf.setBackend(backend);
      return rival.reset(fresh);
    },
    // The other backend may have had its turn.
    step: () => {
      if (tf.getBackend() === backend) return rival.step();
      return tf.setBackend(backend).then(() => rival.step());
    },
    dispose: () => {
      rival.dispose();
      rivals.dispose();
    },
  };
}
