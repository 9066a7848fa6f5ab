// What each entry point of the library costs a page: everything it exports, minified and gzipped,
// kernels included. Fails when one is over its budget.

import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const budgets = {
  // 14.6 KB on one thread. On top of that:
  // - threads (workers, jobs, the pool): 1.6 KB
  // - 8-bit loops that decode in place, which halve the time of an 8-bit step: 0.9 KB
  // - loops of eight elements per iteration without Nesterov's arithmetic (0.48 instead of 0.74 ns per element to apply, in
  //   the cache): 0.9 KB
  // - a second, unshared memory and larger batches for arrays from outside (from 3.1 to 2.0 times a step inside on one
  //   thread, from 4.2 to 1.6 times on two): 0.9 KB
  // - encoding a block of codes while the next is applied (0.9 instead of 1.1 ns per element from memory): 0.1 KB
  // - memory with owners, constant-time allocation, threads that start late and end, fallbacks with a warning: 2.2 KB
  // - checks of all arguments and of loaded state: 1.3 KB
  // - the gradient noise scale: 0.2 KB
  // - what layerwise/mpi needs of steps and state: 0.1 KB
  index: 23_100,
  quantization: 5_000,
  checkpoint: 5_000,
  // The core, whose kernels optimizerFor runs (22.7 KB), the transformations (9.8 KB), and their states as safetensors
  // (1.9 KB); without jax-js, which is a peer. A page that uses only lars loads 9.4 KB. Separate sums for GPUs make a step
  // over 10 million parameters take 0.81 of the time. Deciding for all layers at once halves a step over 161 small
  // layers on wasm. Checks for states of other options take 1 KB.
  jax: 34_400,
  // The core, which it runs on (22.7 KB), and 21 KB of adapter. 5 KB of it are shaders for WebGPU, with which a
  // step is 1.6 times as fast as TensorFlow.js' momentum there; 7 KB are shaders for WebGL, with which a step
  // over 335,114 parameters takes 10 ms instead of 128 with tensor operations.
  tfjs: 43_700,
};

let exceeded = false;
for (const [entry, budget] of Object.entries(budgets)) {
  const file = fileURLToPath(new URL(`../packages/layerwise/dist/${entry}.js`, import.meta.url));
  const { outputFiles } = await build({
    entryPoints: [file],
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    platform: "neutral",
    external: ["@jax-js/jax"],
    target: "es2022",
    legalComments: "none",
  });
  const minified = outputFiles.reduce((sum, output) => sum + output.contents.length, 0);
  const gzipped = outputFiles.reduce(
    (sum, output) => sum + gzipSync(output.contents, { level: 9 }).length,
    0,
  );
  const verdict = gzipped <= budget ? "within" : "OVER";
  exceeded ||= gzipped > budget;
  const name = entry === "index" ? "layerwise" : `layerwise/${entry}`;
  console.log(
    `${name}: ${kilobytes(gzipped)} gzipped (${kilobytes(minified)} minified), ` +
      `${verdict} its budget of ${kilobytes(budget)}`,
  );
}
if (exceeded) process.exit(1);

/** @param {number} bytes */
function kilobytes(bytes) {
  return `${(bytes / 1000).toFixed(2)} KB`;
}
