/** The second thread of the copy: waits for the epoch to change, helps, and looks out for the next job. */
import { workerData } from "node:worker_threads";
import { EPOCH, instantiateCopy, JOB } from "./copy-kernel.js";
import type { CopyModule } from "./copy-kernel.js";

/** About as long as the kernels' own threads look out before they sleep. */
const SPINS = 20_000;

const { module, memory } = workerData as CopyModule;
const { work } = instantiateCopy({ module, memory });
const words = new Int32Array(memory.buffer);
let seen = Atomics.load(words, EPOCH);
for (;;) {
  for (let spins = 0; spins < SPINS && Atomics.load(words, EPOCH) === seen; spins++);
  if (Atomics.load(words, EPOCH) === seen) Atomics.wait(words, EPOCH, seen);
  seen = Atomics.load(words, EPOCH);
  work(JOB);
}
