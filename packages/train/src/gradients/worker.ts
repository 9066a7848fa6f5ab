/** A worker thread: computes the gradients of micro-batches, one at a time, with jax-js. */
import { parentPort, workerData } from "node:worker_threads";
import { defaultDevice, init } from "@jax-js/jax";
import { messageOf } from "../errors.js";
import { createNetwork } from "../models/create.js";
import type { Network } from "../models/model.js";
import type { LaneArrays, PieceScore, Reply, Request, Task, WorkerSetup } from "./protocol.js";
import { sumSquares } from "./sum-squares.js";

const setup = workerData as WorkerSetup;
const port = parentPort!;
const lanes = new Map<number, LaneArrays>();
let network: Network | null = null;
/** Which lane's weights are loaded, in which version. */
let loaded = { lane: -1, weightsVersion: -1 };

async function createOnWasm(): Promise<Network> {
  // Initialise this device only: the others look for browsers and GPUs.
  await init("wasm");
  defaultDevice("wasm");
  return createNetwork(setup.network);
}

async function run({ kind, lane, begin, end, slot, weightsVersion }: Task): Promise<PieceScore> {
  const { order, evaluation, weights, slots } = lanes.get(lane)!;
  network ??= await createOnWasm();
  if (loaded.lane !== lane || loaded.weightsVersion !== weightsVersion) {
    network.setWeights(weights);
    loaded = { lane, weightsVersion };
  }
  if (kind === "evaluate") {
    const { part, rows } = evaluation;
    const batch = { samples: setup.dataset[part], rows: rows.subarray(begin, end) };
    return { ...network.evaluate(batch), sumSquares: [] };
  }
  const gradients = slots[slot]!;
  const batch = { samples: setup.dataset.train, rows: order.subarray(begin, end) };
  const score = network.gradients(batch, gradients);
  return { ...score, sumSquares: gradients.map(sumSquares) };
}

port.on("message", (request: Request) => {
  if (request.kind === "open") lanes.set(request.lane, request.arrays);
  else if (request.kind === "close") lanes.delete(request.lane);
  else {
    run(request).then(
      (score) => {
        port.postMessage({ kind: "score", score } satisfies Reply);
      },
      (error: unknown) => {
        port.postMessage({ kind: "failed", message: messageOf(error) } satisfies Reply);
      },
    );
  }
});
