/**
 * What every runtime runs, also as a bundle in a page: it waits until each helper thread has worked, then takes eight
 * steps with each optimizer, and reports the bits of the weights as JSON.
 */
import { LARS32bit, LARS8bit, Parameter } from "layerwise";

/** More than one on any machine. */
const THREADS = 3;
/** A million elements are 32 chunks of work, eight times what threads are woken for. */
const SHAPE = [1024, 1024];
/** On a busy machine a helper can be late for many steps. */
const HELP_WITHIN_MS = 40_000;

const threadsOfNode = globalThis.process?.getBuiltinModule?.("node:worker_threads");
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What the library sends to each worker that it starts from now on. */
function workerSetups() {
  const setups = [];
  if (threadsOfNode) {
    const { Worker } = threadsOfNode;
    threadsOfNode.Worker = class extends Worker {
      constructor(source, options) {
        super(source, options);
        setups.push(options.workerData);
      }
    };
  } else {
    const { postMessage } = Worker.prototype;
    Worker.prototype.postMessage = function (setup) {
      setups.push(setup);
      postMessage.call(this, setup);
    };
  }
  return setups;
}

/** Whether a worker has worked: its scratch, which nobody else writes, holds the momentum of its last 256 elements. */
function hasWorked({ memory, scratch }) {
  return new Float32Array(memory.buffer, scratch, 256).some((value) => value !== 0);
}

function fill(array, { factor, offset, period }) {
  for (let i = 0; i < array.length; i++) {
    array[i] = (((i * factor + offset) % period) - (period >> 1)) / 128;
  }
}

/** Steps until each helper has worked. The optimizer, which keeps them alive, and how many worked. */
async function withHelpers() {
  const setups = workerSetups();
  const parameter = Parameter.allocate(SHAPE);
  const optimizer = new LARS8bit([parameter], { lr: 0.125, momentum: 0.875 }, { threads: THREADS });
  fill(parameter.data, { factor: 7, offset: 0, period: 101 });
  fill(parameter.grad, { factor: 13, offset: 1, period: 97 });
  const deadline = performance.now() + HELP_WITHIN_MS;
  const helped = () => setups.filter(hasWorked).length;
  do {
    optimizer.step();
    await pause(10); // Browsers start workers between tasks only.
  } while (helped() < optimizer.threads - 1 && performance.now() < deadline);
  return { optimizer, helped };
}

/** The bits of all weights after eight steps, as a number. */
function bitsAfterSteps(LARS) {
  const params = [Parameter.allocate(SHAPE), Parameter.allocate([513])];
  params.forEach(({ data }, k) => fill(data, { factor: 7, offset: k, period: 101 }));
  const options = { lr: 0.125, momentum: 0.875, weightDecay: 1 / 1024 };
  const optimizer = new LARS(params, options, { threads: THREADS });
  for (let step = 0; step < 8; step++) {
    params.forEach(({ grad }, k) => fill(grad, { factor: 13, offset: step + k, period: 97 }));
    optimizer.step();
  }
  let hash = 0;
  for (const { data } of params) {
    const words = new Int32Array(data.buffer, data.byteOffset, data.length);
    for (const word of words) hash = (Math.imul(hash, 31) + word) | 0;
  }
  optimizer.dispose();
  for (const parameter of params) parameter.dispose();
  return (hash >>> 0).toString(16);
}

/** The threads that an optimizer has by default, and the cores that the runtime tells of. */
function defaults() {
  const optimizer = new LARS8bit([Parameter.allocate([1])], { lr: 1 });
  const { threads } = optimizer;
  optimizer.dispose();
  const os = globalThis.process?.getBuiltinModule?.("node:os");
  return { threads, cores: os?.availableParallelism() ?? navigator.hardwareConcurrency };
}

async function results() {
  const { threads: defaultThreads, cores } = defaults();
  const { optimizer, helped } = await withHelpers();
  const bits = `${bitsAfterSteps(LARS32bit)} ${bitsAfterSteps(LARS8bit)}`;
  const { kernel, threads } = optimizer;
  return { bits, kernel, threads, helpers: helped(), defaultThreads, cores };
}

const found = await results();
if (typeof document === "undefined") {
  console.log(JSON.stringify(found));
} else {
  const body = JSON.stringify({ ...found, isolated: crossOriginIsolated });
  await fetch("/result", { method: "POST", body });
}
