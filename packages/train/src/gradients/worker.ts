/** A worker thread: computes the gradients of micro-batches, one at a time, with jax-js. */
import { parentPort, workerData } from "node:worker_threads";
import { defaultDevice, init } from "@jax-js/jax";
import { messageOf } from "../errors.js";
import { createNetwork } from "../models/create.js";
import type { Evaluation, Network } from "../models/model.js";
import type { Reply, Task, WorkerSetup } from "./protocol.js";

const setup = workerData as WorkerSetup;
const port = parentPort!;
let network: Network | null = null;
let weightsVersion = -1;

async function createOnWasm(): Promise<Network> {
  // Only this device: the others look for browsers and GPUs.
  await init("wasm");
  defaultDevice("wasm");
  return createNetwork(setup.network);
}

async function run(task: Task): Promise<Evaluation> {
  network ??= await createOnWasm();
  if (weightsVersion !== task.weightsVersion) {
    network.setWeights(setup.weights);
    weightsVersion = task.weightsVersion;
  }
  if (task.kind === "gradients") {
    const rows = setup.order.subarray(task.begin, task.end);
    return network.gradients({ samples: setup.dataset.train, rows }, setup.slots[task.slot]!);
  }
  const rows = Int32Array.from({ length: task.end - task.begin }, (_, index) => task.begin + index);
  return network.evaluate({ samples: setup.dataset.test, rows });
}

port.on("message", (task: Task) => {
  run(task).then(
    (score) => {
      port.postMessage({ kind: "score", score } satisfies Reply);
    },
    (error: unknown) => {
      port.postMessage({ kind: "failed", message: messageOf(error) } satisfies Reply);
    },
  );
});
